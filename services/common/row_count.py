"""Counts the tokens of a packed row while it grows, so that a batch can be cut before it is packed."""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.packing import MIN_SHARED_TOKENS, Share
from rewardplane.wire import TokenPair


class RowCount(Protocol):
    """The tokens of a row, each shared run once."""

    tokens: int

    def added_tokens(self, pair: TokenPair) -> int:
        """What the row would grow by."""
        ...

    def add(self, pair: TokenPair) -> None: ...


def count_row(share: Share) -> RowCount:
    """For an empty row that is to be packed with `share`."""
    return QuestionRow() if share == "question" else PrefixRow()


class QuestionRow:
    """Equal questions count once."""

    def __init__(self) -> None:
        self.tokens = 0
        self._questions: set[bytes] = set()

    def added_tokens(self, pair: TokenPair) -> int:
        question = 0 if pair.question_ids.tobytes() in self._questions else len(pair.question_ids)
        return question + len(pair.answer_ids)

    def add(self, pair: TokenPair) -> None:
        self.tokens += self.added_tokens(pair)
        if len(pair.question_ids) >= MIN_SHARED_TOKENS:
            self._questions.add(pair.question_ids.tobytes())


class PrefixRow:
    """Every common prefix counts once: of all sequences, the longest is shared with a neighbor in sorted order."""

    def __init__(self) -> None:
        self.tokens = 0
        self._keys: list[bytes] = []  # sorted; big-endian, so that bytes sort as tokens do
        self._sequences: list[NDArray[np.int32]] = []

    def added_tokens(self, pair: TokenPair) -> int:
        sequence, at = self._place(pair)
        shared = max((_common(sequence, other) for other in self._sequences[max(0, at - 1) : at + 1]), default=0)
        return len(sequence) - (shared if shared >= MIN_SHARED_TOKENS else 0)

    def add(self, pair: TokenPair) -> None:
        self.tokens += self.added_tokens(pair)
        sequence, at = self._place(pair)
        self._keys.insert(at, _key(sequence))
        self._sequences.insert(at, sequence)

    def _place(self, pair: TokenPair) -> tuple[NDArray[np.int32], int]:
        sequence = np.concatenate([pair.question_ids, pair.answer_ids])
        return sequence, bisect_left(self._keys, _key(sequence))


def _key(sequence: NDArray[np.int32]) -> bytes:
    return sequence.astype(">u4").tobytes()


def _common(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n
