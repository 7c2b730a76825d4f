"""Lays question-answer pairs into one row without padding, every shared prefix stored once.

The pairs of a batch form a forest: pairs that begin with the same tokens share those tokens (a question and
its K answers, a system prompt and all its questions). Each node of the forest is a *segment*, a run of the
row; a segment attends to the segments above it and, causally, to itself. K answers of A tokens to a
question of Q tokens so cost Q + K * A tokens, not K * (Q + A).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.wire import TokenPair

MIN_SHARED_TOKENS = 16
"""Shorter common prefixes are computed again: a segment costs one more attention call in every layer."""


@dataclass(frozen=True)
class Segment:
    """A run of the packed row, and the runs that it continues."""

    start: int
    length: int
    ancestors: tuple[int, ...]
    """Indices of the segments above this one, root first."""
    position: int
    """Position of the first token in its sequence: the summed length of the ancestors."""


@dataclass(frozen=True)
class PackedPairs:
    """A batch of n pairs as one row of T tokens."""

    input_ids: Tensor  # int64[T]
    position_ids: Tensor  # int64[T]  restarts in every sequence
    segments: tuple[Segment, ...]  # in row order; together they cover the row exactly
    last_index: Tensor  # int64[n]  row index of each pair's last token, where its score is read
    predict_index: Tensor  # int64[sum A]  row index of the state before each answer token, pair by pair
    answer_ids: Tensor  # int64[sum A]
    answer_lengths: tuple[int, ...]
    num_logical_tokens: int
    """Tokens that the batch would have without sharing and rounding."""

    @property
    def num_tokens(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device | str) -> PackedPairs:
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("input_ids", "position_ids", "last_index", "predict_index", "answer_ids")
        }
        return replace(self, **moved)


def pack(
    pairs: Sequence[TokenPair], *, min_shared_tokens: int = MIN_SHARED_TOKENS, round_to: int = 1
) -> PackedPairs:
    """Packs pairs; common prefixes of at least `min_shared_tokens` tokens are stored once.

    The row is filled up to a multiple of `round_to` with tokens that nothing reads: oneDNN keeps a compiled
    kernel for every distinct number of rows. Raises ValueError for an empty batch.
    """
    if not pairs:
        raise ValueError("pack() needs at least one pair")
    sequences = [np.concatenate([pair.question_ids, pair.answer_ids]) for pair in pairs]
    row = _Row(sequences, min_shared_tokens)
    filler = -row.num_tokens % round_to
    if filler:
        row.add(np.zeros(filler, np.int32), (), 0)
    places = [row.places(i) for i in range(len(pairs))]
    predict = [p[len(pair.question_ids) - 1 : -1] for p, pair in zip(places, pairs, strict=True)]
    return PackedPairs(
        input_ids=_index(row.tokens),
        position_ids=_index([np.arange(s.position, s.position + s.length) for s in row.segments]),
        segments=tuple(row.segments),
        last_index=torch.tensor([int(p[-1]) for p in places]),
        predict_index=_index(predict),
        answer_ids=_index([pair.answer_ids for pair in pairs]),
        answer_lengths=tuple(len(pair.answer_ids) for pair in pairs),
        num_logical_tokens=sum(len(s) for s in sequences),
    )


def packed_length(pairs: Sequence[TokenPair], *, min_shared_tokens: int = MIN_SHARED_TOKENS) -> int:
    """The number of tokens that `pack` would lay out, before rounding."""
    sequences = [np.concatenate([pair.question_ids, pair.answer_ids]) for pair in pairs]
    return _Row(sequences, min_shared_tokens).num_tokens


class _Row:
    """The row while it grows: segments, their tokens, and which of them each sequence runs through."""

    def __init__(self, sequences: Sequence[NDArray[np.int32]], min_shared_tokens: int) -> None:
        self.sequences = sequences
        self.min_shared_tokens = min_shared_tokens
        self.segments: list[Segment] = []
        self.tokens: list[NDArray[np.int32]] = []
        self.num_tokens = 0
        self.paths: list[tuple[int, ...]] = [()] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())
        pending: list[tuple[list[int], int, tuple[int, ...]]] = [(order, 0, ())]
        while pending:
            group, done, path = pending.pop()
            pending.extend(self._place(group, done, path))

    def add(self, tokens: NDArray[np.int32], ancestors: tuple[int, ...], position: int) -> int:
        self.segments.append(Segment(self.num_tokens, len(tokens), ancestors, position))
        self.tokens.append(tokens)
        self.num_tokens += len(tokens)
        return len(self.segments) - 1

    def _place(
        self, group: list[int], done: int, path: tuple[int, ...]
    ) -> Iterator[tuple[list[int], int, tuple[int, ...]]]:
        """Places sequences that agree on their first `done` tokens, which `path` already holds.

        The group is sorted, so what its first and last sequence share is shared by all.
        """
        first = self.sequences[group[0]]
        if len(group) == 1:
            if len(first) > done:
                path = (*path, self.add(first[done:], path, done))
            self.paths[group[0]] = path
            return
        common = _common_prefix(first, self.sequences[group[-1]])
        if common - done >= self.min_shared_tokens or (common > done and common == len(first)):
            path = (*path, self.add(first[done:common], path, done))
            done = common
        for child in self._split(group, common):
            yield child, done, path

    def _split(self, group: list[int], at: int) -> Iterator[list[int]]:
        """Cuts a sorted group wherever the token at place `at` changes; ended sequences stand alone."""
        key: int | None = None
        child: list[int] = []
        for i in group:
            sequence = self.sequences[i]
            token = int(sequence[at]) if len(sequence) > at else None
            if child and (token is None or token != key):
                yield child
                child = []
            key = token
            child.append(i)
        yield child

    def places(self, i: int) -> NDArray[np.int64]:
        """Row index of every token of sequence i."""
        spans = [self.segments[s] for s in self.paths[i]]
        return np.concatenate([np.arange(s.start, s.start + s.length) for s in spans])


def _common_prefix(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n


def _index(parts: Sequence[NDArray[np.int32] | NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))
