"""Everything that is worth knowing about files of rankings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ..data import read_ranked
from ..intervals import Estimate
from ..rankings.ranked import RankedAnswers, ordered_pairs
from .lengths import Lengths, Measure, measure
from .repeats import Leak, Repeats, leak, repeats

HELDOUT = "held out"
"""The name of the split that `--heldout` gives."""


@dataclass(frozen=True)
class RankCounts:
    """How many comparisons the ranks of a file make."""

    answers_per_question: dict[int, int]
    """Questions by K."""
    pairs: int
    """Pairs of answers to one question with different known ranks: what is trained on."""
    tied_pairs: int
    """Pairs with equal known ranks."""
    all_tied: int
    """Questions whose answers all tie."""
    unknown_ranks: int
    """Answers without a rank."""
    without_pair: int
    """Questions that training skips: all tied, or fewer than two known ranks."""


@dataclass(frozen=True)
class FileReport:
    file: str
    questions: int
    answers: int
    sources: dict[str, int]
    splits: dict[str, int]
    ranks: RankCounts
    repeats: Repeats
    answers_with_turns: int
    """Answers that go on with the other side's turn, as some of HH's do."""
    longer_wins: dict[str, Estimate | None]
    """By unit of length."""
    lengths: tuple[Lengths, ...]


@dataclass(frozen=True)
class DataReport:
    files: tuple[FileReport, ...]
    leaks: tuple[Leak, ...]


def check(files: Sequence[Path], heldout: Path | None, units: Mapping[str, Measure]) -> DataReport:
    """Reads all files, then looks at each of them and at what two splits share. Raises BadData."""
    rows = {path: read_ranked(path) for path in [*files, *([heldout] if heldout else [])]}
    reports = tuple(_file_report(path, own, units) for path, own in rows.items())
    parts: dict[str, list[RankedAnswers]] = {}
    for path, own in rows.items():
        for row in own:
            name = HELDOUT if path == heldout else row.split or str(path)
            parts.setdefault(name, []).append(row)
    # Whatever order a shuffled file has them in: what is held out is named second.
    names = sorted(parts, key=lambda name: (name == HELDOUT, name != "train"))
    compared = [pair for pair in combinations(names, 2) if heldout is None or pair[1] == HELDOUT]
    return DataReport(reports, tuple(leak(a, parts[a], b, parts[b]) for a, b in compared))


def _file_report(path: Path, rows: Sequence[RankedAnswers], units: Mapping[str, Measure]) -> FileReport:
    lengths, longer_wins = measure(rows, units)
    return FileReport(
        file=str(path),
        questions=len(rows),
        answers=sum(len(row.answers) for row in rows),
        sources=dict(Counter(row.source for row in rows if row.source).most_common()),
        splits=dict(Counter(row.split for row in rows if row.split).most_common()),
        ranks=count_ranks(rows),
        repeats=repeats(rows),
        answers_with_turns=sum("\n\nHuman:" in answer for row in rows for answer in row.answers),
        longer_wins=longer_wins,
        lengths=tuple(lengths),
    )


def count_ranks(rows: Sequence[RankedAnswers]) -> RankCounts:
    known = [[rank for rank in row.ranks if rank is not None] for row in rows]
    pairs = [sum(1 for _ in ordered_pairs(row.ranks)) for row in rows]
    return RankCounts(
        answers_per_question=dict(sorted(Counter(len(row.answers) for row in rows).items())),
        pairs=sum(pairs),
        tied_pairs=sum(len(own) * (len(own) - 1) // 2 - n for own, n in zip(known, pairs, strict=True)),
        all_tied=sum(len(own) == len(row.ranks) and not n for row, own, n in zip(rows, known, pairs, strict=True)),
        unknown_ranks=sum(len(row.ranks) - len(own) for row, own in zip(rows, known, strict=True)),
        without_pair=sum(not n for n in pairs),
    )
