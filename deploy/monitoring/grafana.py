"""Turns a description of panels into the JSON of a Grafana dashboard (schema 39, Grafana 10 and newer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HEIGHT = 8
STAT_HEIGHT = 4


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    """Grafana's name of it: s, percentunit, short, bytes, ops, dateTimeFromNow."""
    queries: tuple[tuple[str, str], ...]
    """PromQL, and the legend of what it gives."""
    note: str = ""
    kind: str = "timeseries"
    """timeseries, stat or heatmap."""
    width: int = 8


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()
    """Name, and the label_values(...) that it is chosen from; all at first."""


def to_json(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["rewardplane"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(*each) for each in dashboard.variables)]},
        "panels": _panels(dashboard.rows),
    }


def _panels(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """From left to right, and on to the next line where the width is used up."""
    laid: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        laid.append({"type": "row", "title": row.title, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top}})
        top, left, height = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            tall = STAT_HEIGHT if panel.kind == "stat" else HEIGHT
            laid.append(_panel(panel) | {"gridPos": {"h": tall, "w": panel.width, "x": left, "y": top}})
            left, height = left + panel.width, max(height, tall)
        top += height
    return [{"id": number} | panel for number, panel in enumerate(laid, 1)]


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            "format": "heatmap" if panel.kind == "heatmap" else "time_series",
        }
        for number, (query, legend) in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "textMode": "value_and_name"}
    if panel.kind == "heatmap":
        options = {"calculate": False, "yAxis": {"unit": panel.unit}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": options,
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # when the time range changes
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
