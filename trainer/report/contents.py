"""What a report says: the one value that the page, the terminal and the README's tables are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .panels import Panel


@dataclass(frozen=True)
class ResultTable:
    title: str
    columns: tuple[str, ...]  # the first column names the row, the others hold numbers
    rows: tuple[tuple[str, ...], ...]  # as many cells as columns
    note: str = ""  # how the numbers were made, in a sentence or two

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title!r} has {len(self.columns)} columns, but {row} has {len(row)}")


@dataclass(frozen=True)
class MetricLog:
    name: str  # as the legend shows it
    directory: Path  # of the run, with its metrics.jsonl


@dataclass(frozen=True)
class Curves:
    """Panels of one kind of run; several runs lie over each other."""

    panels: tuple[Panel, ...]
    logs: tuple[MetricLog, ...]  # the run first, then what is laid over it


@dataclass(frozen=True)
class Judged:
    """An answer and what a judge gave it."""

    text: str
    points: float


@dataclass(frozen=True)
class Sample:
    """Answers to one held-out question; `after` is None where the run has been evaluated once."""

    question: str
    before: Judged
    after: Judged | None


@dataclass(frozen=True)
class Report:
    title: str
    summary: str  # one sentence or two above everything else
    tables: tuple[ResultTable, ...]
    sections: tuple[tuple[str, tuple[Curves, ...]], ...]  # (heading, its curves)
    samples: tuple[Sample, ...]
    judge: str  # who gave the samples their points
    sides: tuple[str, str]  # headings of before and after
    configuration: tuple[tuple[str, str], ...]  # (part, its settings as text)
    versions: tuple[tuple[str, str], ...]  # (name, version or description)
