"""Configuration files: TOML, checked against pydantic sections before anything starts."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails


class Section(BaseModel):
    """A frozen table of settings that knows all of its keys; the docstring below a field explains it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


T = TypeVar("T", bound=Section)


class ConfigError(ValueError):
    """Settings that cannot be used; the message names file, keys, their values and what is allowed."""


def load_config(path: Path | str, kind: type[T], overrides: Sequence[str] = ()) -> T:
    """Reads a TOML file into `kind`, after setting the keys that `overrides` names ("optimizer.epochs=2").

    The value of an override is TOML; what is no TOML value is a string. Raises ConfigError.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is no readable TOML file: {error}") from error
    for override in overrides:
        _set(content, override)
    return parse_config(content, kind, str(path))


def override_config(section: T, overrides: Sequence[str]) -> T:
    """The section with the keys that `overrides` names set anew. Raises ConfigError."""
    content = section.model_dump(mode="json")
    for override in overrides:
        _set(content, override)
    return parse_config(content, type(section), "--set")


def parse_config(content: Mapping[str, Any], kind: type[T], source: str) -> T:
    """Makes a section of a mapping; `source` is where it came from, for messages. Raises ConfigError."""
    try:
        # Through JSON, where strict means: no number from a string, no count from a truth value.
        return kind.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        problems = [_problem(kind, details) for details in error.errors(include_url=False)]
    raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ConfigError(f"--set {override}: give it as key=value, or table.key=value")
    table = content
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {name} is a value, not a table")
    table[names[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(kind: type[BaseModel], details: ErrorDetails) -> str:
    key = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"unknown key {key}; {_nearest(kind, [str(part) for part in details['loc']])}"
    field = _field_docs(kind, [str(part) for part in details["loc"]])
    explained = f" ({field})" if field else ""
    if details["type"] == "missing":
        return f"{key} is missing{explained}"
    if details["type"] == "value_error":  # one of our validators, whose message says it all
        return f"{key + ': ' if key else ''}{details['ctx']['error']}"
    given = json.dumps(details["input"], default=str)
    return f"{key} = {given}: {details['msg'][0].lower()}{details['msg'][1:]}{explained}"


def _nearest(kind: type[BaseModel], location: Sequence[str]) -> str:
    section = _section(kind, location[:-1])
    known = list(section.model_fields) if section else []
    close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    listed = f"known here: {', '.join(known)}"
    return f"did you mean {close[0]}? ({listed})" if close else listed


def _field_docs(kind: type[BaseModel], location: Sequence[str]) -> str:
    section = _section(kind, location[:-1])
    field = section.model_fields.get(location[-1]) if section and location else None
    return " ".join((field.description or "").split()) if field else ""


def _section(kind: type[BaseModel], location: Sequence[str]) -> type[BaseModel] | None:
    """The section that a path of keys leads to, or None where it leads to no table."""
    section: type[BaseModel] | None = kind
    for name in location:
        field = section.model_fields.get(name) if section else None
        section = next(_sections(field.annotation), None) if field else None
    return section


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def digest_without(section: Section, left_out: set[str]) -> str:
    """Hex SHA-256 over a section's values but for the top-level keys that are left out."""
    content = section.model_dump_json(exclude=left_out)
    return hashlib.sha256(content.encode()).hexdigest()
