"""Rows of Parquet files and of directories that `datasets` saved; both need pyarrow and nothing else."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .jsonl import BadData, Row

PARQUET = ".parquet"


def parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Gives the place of every row and the row; a null column counts as absent. Raises BadData."""
    parquet, arrow = _module("pyarrow.parquet", path), _module("pyarrow", path)
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", _without_nulls(row)
    except FileNotFoundError:
        raise BadData(f"{path} does not exist") from None
    except (arrow.ArrowException, OSError) as error:
        raise BadData(f"{path} is no Parquet file: {error}") from error


def dataset_rows(directory: Path) -> Iterator[tuple[str, Row]]:
    """As `parquet_rows`, of a directory that `datasets.Dataset.save_to_disk` wrote. Raises BadData.

    state.json names the files; each is an Arrow stream. `datasets` itself is not needed.
    """
    if (directory / "dataset_dict.json").is_file():
        splits = _json(directory / "dataset_dict.json", "splits")
        raise BadData(f"{directory} holds the splits {', '.join(splits)}: name one of them, as {directory / splits[0]}")
    if not (directory / "state.json").is_file():
        raise BadData(f"{directory} cannot be read: it is a directory that `datasets` did not save")
    arrow = _module("pyarrow", directory)
    number = 0
    for part in _json(directory / "state.json", "_data_files"):
        path = directory / str(part["filename"])
        try:
            with arrow.memory_map(str(path)) as stream, arrow.ipc.open_stream(stream) as batches:
                for batch in batches:
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{directory}: row {number}", _without_nulls(row)
        except (arrow.ArrowException, OSError) as error:
            raise BadData(f"{path} is no Arrow stream: {error}") from error


def _without_nulls(row: Row) -> Row:
    # One column for all rows: what a row does not have is null there.
    return {key: value for key, value in row.items() if value is not None}


def _json(path: Path, key: str) -> list[Any]:
    try:
        found: list[Any] = json.loads(path.read_bytes())[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{path} is not what `datasets` writes: it gives no {key}") from error
    return found


def _module(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise BadData(f"{path} needs pyarrow, which is not installed: pip install 'rewardplane[data]'") from None
