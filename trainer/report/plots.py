"""Curves as inline SVG that takes its colours from the page, so that one picture serves light and dark."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..svg import SERIES, STYLE, page_svg
from .panels import Panel

Series = list[tuple[float, float]]  # (update, value), updates rising

LINE_STYLES = ("-", "--", "-.", ":")  # series differ in dash too, for eyes and printers without colour


def panel_svg(panel: Panel, runs: Sequence[tuple[str, Mapping[str, Series]]]) -> str | None:
    """Draws one panel and gives an <svg> element, or None if no run has any of its metrics.

    A panel of several keys shows them for the first run that has any; a panel of one key lays the runs over
    each other. Every line is a group with the id "key:run".
    """
    if len(panel.keys) > 1:
        runs = [run for run in runs if any(key in run[1] for key, _ in panel.keys)][:1]
    lines = [
        (key, run, label if len(panel.keys) > 1 else run, series[key])
        for run, series in runs
        for key, label in panel.keys
        if key in series
    ]
    if not lines:
        return None
    # The salt keeps ids of clip paths and markers apart, since all pictures share one page.
    with mpl.rc_context(STYLE | {"svg.hashsalt": panel.title}):
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for i, (key, run, label, points) in enumerate(lines):
            [line] = axes.plot(*zip(*points, strict=True), label=label, gid=f"{key}:{run}")
            line.set(color=SERIES[i % len(SERIES)], linestyle=LINE_STYLES[i % len(LINE_STYLES)])
            line.set_marker("o" if len(points) == 1 else "")
        axes.set_xlabel("update")
        axes.set_ylabel(panel.unit)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        low, high = axes.get_ylim()
        if (values := {value for *_, points in lines for _, value in points}) and len(values) == 1:
            axes.set_ylim(min(low, 0.0), max(high, 0.0))  # a constant: its size matters, not its last digits
        if len(lines) > 1:
            axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return page_svg(figure, panel.title)
