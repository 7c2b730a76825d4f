"""What the page sends."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt

from ..config import Section


class Draft(Section):
    """An order that is not finished."""

    assignment: int
    draft: dict[str, Any]
    """The page's own; nobody else reads it."""


class Submission(Section):
    """A finished ranking, of the answers as they were shown."""

    assignment: int
    ranks: list[NonNegativeInt | None]
    flags: list[list[str]]
    seconds: NonNegativeFloat
    cannot_judge: bool
    draft: dict[str, Any] | None = None
