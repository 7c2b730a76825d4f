"""How numbers of an evaluation are written, in the terminal and on the page."""

from __future__ import annotations

from ..intervals import Estimate

UNKNOWN = "–"


def number(one: Estimate | None, digits: int = 3) -> str:
    return UNKNOWN if one is None else f"{one.value:.{digits}f}"


def interval(one: Estimate | None, digits: int = 3) -> str:
    return UNKNOWN if one is None else f"{one.low:.{digits}f}–{one.high:.{digits}f}"


def length_name(low: float, high: float | None) -> str:
    return f"{low:g}+" if high is None else f"{low:g}–{high:g}"
