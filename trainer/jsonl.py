"""JSON Lines, and the checks that a row's fields go through wherever it was read."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


class BadData(ValueError):
    """A data file that cannot be used; the message names the file, the line and what is wrong with it."""


def json_rows(path: Path) -> Iterator[tuple[str, Row | BadData]]:
    """Gives the place of every row, and the row or what is wrong with it. Raises BadData for the whole file.

    A file that begins with "[" is one JSON list, anything else JSON Lines, where blank lines are skipped.
    ".gz" at the end of the name means gzip.
    """
    content = _content(path)
    if content[:64].lstrip()[:1] == b"[":
        yield from _listed(path, content)
        return
    # Not splitlines: JSON may hold U+2028 and others that Python takes for the end of a line.
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", _object(_parsed(line))
        except BadData as error:
            yield f"{path}:{number}", error


def field(row: Row, key: str) -> Any:
    if key not in row:
        raise BadData(f"has no {key}; its keys are {', '.join(row) or 'none'}")
    return row[key]


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadData(f"{name} is {kind(value)}; text is wanted")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise BadData(f"{name} is no valid Unicode at character {error.start}") from None
    return value


def filled_text(value: Any, name: str) -> str:
    if not text(value, name):
        raise BadData(f"{name} is empty")
    return str(value)


def listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadData(f"{name} is {kind(value)}; a list is wanted")
    return value


def items(row: Row, key: str) -> list[Any]:
    return listed(field(row, key), key)


def kind(value: Any) -> str:
    """What a value is, in few words."""
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return json.dumps(value, default=str)[:60]  # Parquet also holds dates and bytes


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError:
        raise BadData(f"{path} does not exist") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadData(f"{path} is no gzip file: {error}") from error
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}") from error


def _listed(path: Path, content: bytes) -> Iterator[tuple[str, Row | BadData]]:
    try:
        values = _parsed(content)
    except BadData as error:
        raise BadData(f"{path}: {error}") from None
    for number, value in enumerate(values, 1):
        try:
            yield f"{path}: item {number}", _object(value)
        except BadData as error:
            yield f"{path}: item {number}", error


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadData(f"is no UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BadData(f"is no JSON: {error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise BadData("is nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise BadData(f"cannot be read: {error}") from None


def _object(value: Any) -> Row:
    if not isinstance(value, dict):
        raise BadData(f"is {kind(value)}; a JSON object is wanted")
    return value
