"""Reads a whole file of rows, of any kind, with every complaint about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from .jsonl import BadData, Row, json_rows
from .tables import PARQUET, dataset_rows, parquet_rows

MAX_REPORTED = 10
"""Bad rows that a message lists; the rest are counted."""

T = TypeVar("T")


def read_rows(path: Path | str, parse: Callable[[Row], T]) -> list[T]:
    """Parses every row of a file. Raises BadData, after the last row."""
    return [value for _, value in read_placed(path, parse)]


def read_placed(path: Path | str, parse: Callable[[Row], T], skipped: list[str] | None = None) -> list[tuple[str, T]]:
    """As `read_rows`, each with its place: "FILE:LINE", or "FILE: row N" where there are no lines.

    Where a list `skipped` is given, it gets the complaints about bad rows, and these are left out.
    """
    placed: list[tuple[str, T]] = []
    problems: list[str] = [] if skipped is None else skipped
    for place, row in _rows(Path(path)):
        try:
            if isinstance(row, BadData):
                raise row
            placed.append((place, parse(row)))
        except BadData as error:
            problems.append(f"{place}: {error}")
    if problems and skipped is None:
        unlisted = len(problems) - MAX_REPORTED
        listed = problems[:MAX_REPORTED] + ([f"... and {unlisted} more bad lines"] if unlisted > 0 else [])
        raise BadData("\n".join(listed))
    if not placed:
        raise BadData(f"{path} holds no rows")
    return placed


def _rows(path: Path) -> Iterator[tuple[str, Row | BadData]]:
    if path.is_dir():
        return dataset_rows(path)
    return parquet_rows(path) if path.suffix == PARQUET else json_rows(path)
