"""The dashboards of deploy/components/monitoring, and what their panels ask for."""

from __future__ import annotations

import json
from typing import Any

from rules import COMPONENT

DASHBOARDS = COMPONENT / "dashboards"
CHOSEN = {"$component": ".*", "$run": ".*", "$__rate_interval": "1m"}
"""What Grafana puts in the place of a variable."""


def dashboards() -> dict[str, dict[str, Any]]:
    """By file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries(rate_interval: str = CHOSEN["$__rate_interval"]) -> dict[str, list[str]]:
    """By file and panel, as Prometheus gets them."""
    found = {}
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                found[f"{name}: {panel['title']}"] = [_filled(t["expr"], rate_interval) for t in panel["targets"]]
    return found


def _filled(query: str, rate_interval: str) -> str:
    for variable, value in (CHOSEN | {"$__rate_interval": rate_interval}).items():
        query = query.replace(variable, value)
    return query
