"""Writes report.html: one file, no script, nothing fetched, readable in light and dark and on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from ..html_page import write_html
from ..metric_lines import METRICS, read_metrics
from .contents import Curves, Report
from .page import PAGE
from .plots import Series, panel_svg


def write_report(report: Report, path: Path) -> Path:
    """Reads the metric files, draws all curves, writes the page, and gives its path.

    Raises FileNotFoundError for a missing metrics file. A metric that no run has is left out, in silence.
    """
    sections = [(heading, _figures(curves)) for heading, curves in report.sections]
    write_html(path, PAGE, report=report, sections=sections)
    return path


def _figures(parts: Sequence[Curves]) -> list[tuple[str, Markup]]:
    drawn = []
    for part in parts:
        runs = [(log.name, _series(log.directory)) for log in part.logs]
        drawn += [(panel.title, panel_svg(panel, runs)) for panel in part.panels]
    return [(title, Markup(svg)) for title, svg in drawn if svg is not None]


def _series(directory: Path) -> dict[str, Series]:
    """Gathers the metrics of a run by name. A metric may be missing from an update, or null there."""
    if not (directory / METRICS).is_file():
        raise FileNotFoundError(f"{directory} holds no {METRICS}: it is no run's directory")
    series: dict[str, Series] = {}
    for line in read_metrics(directory):
        update = line.pop("update") or 0
        for name, value in line.items():
            if value is not None:
                series.setdefault(name, []).append((update, value))
    return series
