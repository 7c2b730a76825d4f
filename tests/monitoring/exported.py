"""What servers and runs export, by the names that documents, rules and dashboards know them by."""

from __future__ import annotations

import re
from pathlib import Path

from rules import METRIC

DOCS = Path(__file__).parents[2] / "docs"
SERIES = ("_bucket", "_count", "_sum")
"""What the client library makes of a histogram."""


def metric_of(series: str) -> str:
    """The documented name."""
    for suffix in SERIES:
        if series.endswith(suffix):
            return series.removesuffix(suffix)
    return series


def documented(page: str = "metrics.md") -> set[str]:
    """Names in the first two columns of tables."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("|")]
    cells = [cell for line in lines for cell in line.split("|")[1:3]]
    names = {name for cell in cells for name in re.findall(r"`([a-z_:0-9]+)`", cell)}
    return {name for name in names if METRIC.fullmatch(name)}


def metrics_in(expression: str) -> set[str]:
    """Metrics and recording rules that an expression reads; `up` and ALERTS are Prometheus' own."""
    return {metric_of(name) for name in METRIC.findall(expression)} | set(
        re.findall(r"\b(up|ALERTS)(?=\{)", expression)
    )
