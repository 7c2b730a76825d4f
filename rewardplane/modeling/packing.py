"""Lays question-answer pairs into one row without padding, what they share stored once.

The pairs of a batch form a forest: a question and its K answers, or a system prompt and all its questions.
Each node is a *segment*, a run of the row; a segment attends to the segments above it and, causally, to
itself. K answers of A tokens to a question of Q tokens so cost Q + K * A tokens, not K * (Q + A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.wire import TokenPair

from .forest import Row, Segment, lay_by_prefix, lay_by_question
from .fused.attention import Runs, runs_of
from .layout import Layout, layout_of
from .upload import upload
from .varlen import VarlenLayout, varlen_layout

Share = Literal["question", "prefix"]
"""What is stored once: equal questions (bits do not depend on the batch), or every common prefix."""

MIN_SHARED_TOKENS = 16
"""Less is computed again: a segment is filled up in attention, and shorter ones mostly with filling."""

ROUND_TO = 64
"""Rows are filled up to a multiple of it: oneDNN compiles and keeps a kernel for every distinct length."""


READ_ROUND_TO = 32
"""As ROUND_TO, for the rows that the last layer computes. A multiple of two registers' numbers: an activation function
computes what is left over one by one, and rounds it otherwise."""


@dataclass(frozen=True)
class PackedPairs:
    """A batch of n pairs as one row of T tokens."""

    input_ids: Tensor  # int64[T]
    position_ids: Tensor  # int64[T]  restarts in every sequence
    segments: tuple[Segment, ...]
    """In row order; together they cover the row exactly."""
    last_index: Tensor  # int64[n]  row index of each pair's last token, where its score is read
    predict_index: Tensor  # int64[sum A]  row index of the state before each answer token, pair by pair
    answer_ids: Tensor  # int64[sum A]
    score_rows: Tensor  # int64[R]  the rows of last_index, each once, and some more to fill R up
    predict_rows: Tensor  # int64[S]  the rows of predict_index, each once, and some more to fill S up
    answer_lengths: tuple[int, ...]
    num_logical_tokens: int
    """Tokens that the batch would have without sharing and rounding."""
    num_filler_tokens: int
    """They are the row's last segment, which nothing reads."""

    @property
    def num_tokens(self) -> int:
        return self.input_ids.shape[0]

    # Attention wants one of these, and says which when it runs.
    @cached_property
    def layout(self) -> Layout:
        """What attends to what, in bundles of segments."""
        return layout_of(self.segments).to(self.input_ids.device)

    @cached_property
    def runs(self) -> Runs:
        """What attends to what, for the kernel of short segments, and which are too long for it."""
        return runs_of(self.segments, len(self.segments) - bool(self.num_filler_tokens))

    @cached_property
    def varlen(self) -> VarlenLayout:
        """What attends to what, for one variable-length call."""
        return varlen_layout(self.segments, self.input_ids.device)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is derived, which another thread may be deriving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> PackedPairs:
        if self.input_ids.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            name: upload(value, device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def pack(
    pairs: Sequence[TokenPair],
    *,
    share: Share = "question",
    min_shared_tokens: int = MIN_SHARED_TOKENS,
    round_to: int = ROUND_TO,
) -> PackedPairs:
    """Packs pairs; what at least `min_shared_tokens` tokens have in common is stored once.

    The row is filled up to a multiple of `round_to` with tokens that nothing reads. Raises ValueError for an
    empty batch.
    """
    if not pairs:
        raise ValueError("pack() needs at least one pair")
    row = Row()
    paths = (lay_by_question if share == "question" else lay_by_prefix)(row, pairs, min_shared_tokens)
    positions = [np.arange(s.position, s.position + s.length) for s in row.segments]
    filler = -row.num_tokens % round_to
    if filler:
        row.add(np.zeros(filler, np.int32))
        positions.append(np.zeros(filler, np.int64))  # 0 exists in every model
    places = [row.places(path) for path in paths]
    last = np.array([p[-1] for p in places])
    predict = np.concatenate([p[len(pair.question_ids) - 1 : -1] for p, pair in zip(places, pairs, strict=True)])
    return PackedPairs(
        input_ids=_index(row.tokens),
        position_ids=_index(positions),
        segments=tuple(row.segments),
        last_index=torch.from_numpy(last),
        predict_index=torch.from_numpy(predict),
        answer_ids=_index([pair.answer_ids for pair in pairs]),
        score_rows=_read_rows(last, row.num_tokens),
        predict_rows=_read_rows(predict, row.num_tokens),
        answer_lengths=tuple(len(pair.answer_ids) for pair in pairs),
        num_logical_tokens=sum(len(p) for p in places),
        num_filler_tokens=filler,
    )


def packed_length(pairs: Sequence[TokenPair], *, min_shared_tokens: int = MIN_SHARED_TOKENS) -> int:
    """The number of tokens that `pack` would lay out with shared questions, before rounding."""
    total = 0
    stored: set[bytes] = set()
    for pair in pairs:
        question, key = len(pair.question_ids), pair.question_ids.tobytes()
        total += len(pair.answer_ids) + (0 if key in stored else question)
        if question >= min_shared_tokens:
            stored.add(key)
    return total


def _read_rows(read: NDArray[np.int64], num_tokens: int) -> Tensor:
    """The rows that are read, and the first others, to a multiple of READ_ROUND_TO if there are as many."""
    rows = np.unique(read)
    others = np.setdiff1d(np.arange(num_tokens), rows, assume_unique=True)
    return torch.from_numpy(np.sort(np.concatenate([rows, others[: -len(rows) % READ_ROUND_TO]])))


def _index(parts: Sequence[NDArray[np.int32] | NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))
