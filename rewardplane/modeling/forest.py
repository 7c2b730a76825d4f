"""The segments of a packed row, and the two ways to find what its pairs share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardplane.wire import TokenPair

Ids = NDArray[np.int32]
Path = tuple[int, ...]
"""Numbers of the segments that a sequence runs through."""


@dataclass(frozen=True)
class Segment:
    """A run of the packed row, and the runs that it continues."""

    start: int
    length: int
    ancestors: Path
    """Numbers of the segments above this one, root first."""
    position: int
    """Position of the first token in its sequence: the summed length of the ancestors."""


def seen_by(segments: Sequence[Segment], numbers: Sequence[int]) -> list[list[list[int]]]:
    """What these segments attend to: runs of the row as [first row, number of rows], each segment's own last.

    What continues a segment alone, and follows it in the row, is one with it.
    """
    children = Counter(segments[number].ancestors[-1] for number in numbers if segments[number].ancestors)
    paths: list[list[list[int]]] = []
    for number in numbers:
        segment = segments[number]
        if segment.ancestors and number == segment.ancestors[-1] + 1 and children[number - 1] == 1:
            paths[-1][-1][1] += segment.length
        else:
            paths.append([[segments[i].start, segments[i].length] for i in (*segment.ancestors, number)])
    return paths


class Row:
    """A packed row while it grows."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.tokens: list[Ids] = []
        self.num_tokens = 0

    def add(self, tokens: Ids, ancestors: Path = (), position: int = 0) -> Path:
        """Appends a segment below `ancestors`; gives the path that ends with it."""
        self.segments.append(Segment(self.num_tokens, len(tokens), ancestors, position))
        self.tokens.append(tokens)
        self.num_tokens += len(tokens)
        return (*ancestors, len(self.segments) - 1)

    def places(self, path: Path) -> NDArray[np.int64]:
        """Row index of every token of a sequence."""
        spans = [self.segments[s] for s in path]
        return np.concatenate([np.arange(s.start, s.start + s.length) for s in spans])


def lay_by_question(row: Row, pairs: Sequence[TokenPair], min_tokens: int) -> list[Path]:
    """Stores each distinct question of at least `min_tokens` tokens once; answers continue it.

    Where a pair is cut depends on the pair alone, so its result has the same bits whatever it shares.
    """
    questions: dict[bytes, Path] = {}
    paths = []
    for pair in pairs:
        question, answer = pair.question_ids, pair.answer_ids
        if len(question) < min_tokens:
            paths.append(row.add(np.concatenate([question, answer])))
            continue
        key = question.tobytes()
        if key not in questions:
            questions[key] = row.add(question)
        paths.append(row.add(answer, questions[key], len(question)))
    return paths


def lay_by_prefix(row: Row, pairs: Sequence[TokenPair], min_tokens: int) -> list[Path]:
    """Stores every common prefix of at least `min_tokens` tokens once, and equal pairs once.

    Finds more to share than `lay_by_question` (a system prompt, the beginnings of answers); where a pair is
    cut depends on the other pairs, and results move in the last bits with them.
    """
    return _PrefixTree(row, [np.concatenate([p.question_ids, p.answer_ids]) for p in pairs], min_tokens).paths


class _PrefixTree:
    def __init__(self, row: Row, sequences: Sequence[Ids], min_tokens: int) -> None:
        self.row = row
        self.sequences = sequences
        self.min_tokens = min_tokens
        self.paths: list[Path] = [()] * len(sequences)
        # Big-endian bytes sort as the numbers do.
        order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())
        pending: list[tuple[list[int], int, Path]] = [(order, 0, ())]
        while pending:
            pending.extend(self._place(*pending.pop()))

    def _place(self, group: list[int], done: int, path: Path) -> Iterator[tuple[list[int], int, Path]]:
        """Places sequences that agree on their first `done` tokens, which `path` already holds.

        The group is sorted, so what its first and last sequence share is shared by all.
        """
        first = self.sequences[group[0]]
        if len(group) == 1:
            self.paths[group[0]] = self.row.add(first[done:], path, done) if len(first) > done else path
            return
        common = _common_prefix(first, self.sequences[group[-1]])
        if common - done >= self.min_tokens or (common > done and common == len(first)):
            path = self.row.add(first[done:common], path, done)
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


def _common_prefix(a: Ids, b: Ids) -> int:
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n
