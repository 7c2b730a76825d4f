"""JSON Lines: reading a whole file with every complaint about it, and checking the fields of a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

Row = Mapping[str, Any]

MAX_REPORTED = 10
"""Bad lines that a message lists; the rest are counted."""

T = TypeVar("T")


class BadData(ValueError):
    """A data file that cannot be used; the message names the file, the line and what is wrong with it."""


def read_rows(path: Path | str, parse: Callable[[Row], T]) -> list[T]:
    """Parses every line of a file; blank lines are skipped. Raises BadData, after the last line."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadData(f"{path} does not exist") from None
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}") from error
    rows: list[T] = []
    problems: list[str] = []
    # Not splitlines: JSON may hold U+2028 and others that Python takes for the end of a line.
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(parse(_object(line)))
        except BadData as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        unlisted = len(problems) - MAX_REPORTED
        listed = problems[:MAX_REPORTED] + ([f"... and {unlisted} more bad lines"] if unlisted > 0 else [])
        raise BadData("\n".join(listed))
    if not rows:
        raise BadData(f"{path} holds no rows")
    return rows


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


def items(row: Row, key: str) -> list[Any]:
    value = field(row, key)
    if not isinstance(value, list):
        raise BadData(f"{key} is {kind(value)}; a list is wanted")
    return value


def kind(value: Any) -> str:
    """What a JSON value is, in few words."""
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return json.dumps(value)[:60]


def _object(line: bytes) -> Row:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadData(f"is no UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadData(f"is no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(row, dict):
        raise BadData(f"is {kind(row)}; a JSON object is wanted")
    return row
