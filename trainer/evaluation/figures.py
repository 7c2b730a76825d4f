"""The pictures of a reward model's evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..intervals import Estimate
from ..svg import GRID, INK, SERIES, STYLE, page_svg
from .names import length_name
from .report import Part, RewardReport

MOST_SOURCES = 12
"""Sources in the picture, those with the most pairs; the table names all."""


def draw(report: RewardReport) -> list[tuple[str, str]]:
    """Gives (title, <svg> element) of every picture that the report has numbers for."""
    pictures: list[tuple[str, Callable[[Axes], None]]] = [
        ("Accuracy by answers a question", lambda axes: _by_k(axes, report)),
        ("Accuracy by difference in length", lambda axes: _by_length(axes, report)),
        ("Calibration of sigmoid(margin)", lambda axes: _calibration(axes, report)),
        ("Scores", lambda axes: _scores(axes, report)),
    ]
    if report.by_source:
        pictures.insert(1, ("Accuracy by source", lambda axes: _by_source(axes, report)))
    return [(title, _svg(title, fill)) for title, fill in pictures]


def _svg(title: str, fill: Callable[[Axes], None]) -> str:
    # The salt keeps ids of clip paths and markers apart, since all pictures share one page.
    with mpl.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        fill(axes)
        names = len(axes.get_legend_handles_labels()[1])
        axes.legend(ncols=3 if names <= 3 else 2, loc="lower left", bbox_to_anchor=(0, 1))
        return page_svg(figure, title)


def _by_k(axes: Axes, report: RewardReport) -> None:
    _points(axes, [part.accuracy for part in report.by_k], "model", 0)
    _points(axes, [part.length_baseline for part in report.by_k], "length only", 1)
    _named(axes, [f"{part.name}" for part in report.by_k])
    axes.set_xlabel("answers a question (K)")
    _shares(axes)


def _by_source(axes: Axes, report: RewardReport) -> None:
    parts: Sequence[Part] = sorted(report.by_source, key=lambda part: -part.accuracy.count)[:MOST_SOURCES]
    for series, name, estimates in (
        (0, "model", [part.accuracy for part in parts]),
        (1, "length only", [part.length_baseline for part in parts]),
    ):
        places = [i + 0.16 * (2 * series - 1) for i in range(len(parts))]
        values = [one.value for one in estimates]
        axes.errorbar(values, places, xerr=_errors(estimates), label=name, **_look(series))
    axes.set_yticks(range(len(parts)), [_short(part.name) for part in parts])
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.axvline(0.5, color=GRID, linewidth=1)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("pairs in people's order, share")


def _by_length(axes: Axes, report: RewardReport) -> None:
    parts = report.by_length
    _points(axes, [part.accuracy for part in parts], "all pairs", 0)
    _points(axes, [part.length_baseline for part in parts], "length only", 1)
    _points(axes, [part.better_longer for part in parts], "better is longer", 2)
    _points(axes, [part.better_shorter for part in parts], "better is shorter", 3)
    _named(axes, [length_name(part.low, part.high) for part in parts])
    axes.set_xlabel("the longer answer is so many times as long")
    _shares(axes)


def _calibration(axes: Axes, report: RewardReport) -> None:
    bins = report.calibration.bins
    axes.plot([0.5, 1], [0.5, 1], color=INK, linewidth=0.8, linestyle=":", label="people agree as often")
    most = max(one.pairs for one in bins)
    axes.plot([one.confidence for one in bins], [one.accuracy for one in bins], color=SERIES[0], label="model")
    sizes = [12 + 60 * one.pairs / most for one in bins]
    axes.scatter([one.confidence for one in bins], [one.accuracy for one in bins], s=sizes, color=SERIES[0])
    axes.set_xlabel("confidence of the model")
    axes.set_ylabel("pairs in people's order")


def _scores(axes: Axes, report: RewardReport) -> None:
    histogram = report.histogram
    for i, (name, counts) in enumerate((("best of its question", histogram.best), ("others", histogram.others))):
        style = ("-", "--")[i]
        axes.stairs(counts, histogram.edges, color=SERIES[i], label=name, linewidth=1.5, linestyle=style)
    axes.set_xlabel("score, offset subtracted")
    axes.set_ylabel("answers")


def _points(axes: Axes, estimates: Sequence[Estimate | None], name: str, series: int) -> None:
    """Points with their intervals, side by side with those of other series."""
    known = [(i, one) for i, one in enumerate(estimates) if one is not None]
    if known:
        places = [i + 0.12 * (series - 1) for i, _ in known]
        errors = _errors([one for _, one in known])
        axes.errorbar(places, [one.value for _, one in known], yerr=errors, label=name, **_look(series))


def _look(series: int) -> dict[str, Any]:
    # Series differ in shape too, for eyes and printers without colour.
    return {"fmt": "osD^"[series], "color": SERIES[series], "markersize": 4.5, "elinewidth": 1.2}


def _errors(estimates: Sequence[Estimate]) -> list[list[float]]:
    # A resampled quantile can lie a rounding error on the wrong side of the value.
    below = [max(0.0, one.value - one.low) for one in estimates]
    return [below, [max(0.0, one.high - one.value) for one in estimates]]


def _named(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _shares(axes: Axes) -> None:
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_ylabel("pairs in people's order")


def _short(name: str) -> str:
    name = name or "(none)"
    return name if len(name) <= 18 else f"{name[:17]}…"
