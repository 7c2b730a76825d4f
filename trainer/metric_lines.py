"""metrics.jsonl: a line for each update of a run."""

from __future__ import annotations

import json
from pathlib import Path

METRICS = "metrics.jsonl"


def read_metrics(directory: Path) -> list[dict[str, float | None]]:
    """The updates of a run, oldest first; a last line that was cut off by a crash is left out."""
    return whole_lines(directory / METRICS)


def whole_lines(path: Path) -> list[dict[str, float | None]]:
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole]
