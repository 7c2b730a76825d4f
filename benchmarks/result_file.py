"""Writes what a benchmark found: benchmarks/results/NAME.json, and a readable table beside it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rewardplane.trainer.versions import collect_versions

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """A figure and what it must be: "at least" or "at most" a number."""

    name: str
    value: float
    goal: str  # "at least 0.2", "at most 15"

    @property
    def holds(self) -> bool:
        bound, number = self.goal.rsplit(" ", 1)
        return self.value >= float(number) if bound == "at least" else self.value <= float(number)


def write_results(
    name: str,
    command: str,
    rows: Sequence[Mapping[str, object]],
    bars: Sequence[Bar],
    note: str = "",
    *,
    directory: Path = RESULTS,
    commit: str | None = None,
) -> Path:
    """Gives the path of the JSON file. Without `commit`, git names what is checked out."""
    versions = dict(collect_versions())
    hardware = f"{versions.pop('machine')}, {platform.machine()}"
    content = {
        "command": command,
        "commit": commit or _commit(),
        "hardware": hardware,
        "versions": versions,
        "rows": list(rows),
        "bars": [asdict(bar) | {"holds": bar.holds} for bar in bars],
        "note": note,
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    (directory / f"{name}.md").write_text(_markdown(name, content, bars))
    return path


def _commit() -> str:
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _markdown(name: str, content: Mapping[str, object], bars: Sequence[Bar]) -> str:
    rows = content["rows"]
    assert isinstance(rows, list)
    lines = [f"# {name}", "", f"`{content['command']}`, commit {content['commit']}, {content['hardware']}"]
    for columns, alike in groupby(rows, key=tuple):
        lines += ["", *_rows(columns, list(alike))]
    if bars:
        table = [[bar.name, _cell(bar.value), bar.goal, "yes" if bar.holds else "**no**"] for bar in bars]
        lines += ["", *_table(["bar", "value", "goal", "holds"], table)]
    if content["note"]:
        lines += ["", str(content["note"])]
    return "\n".join(lines) + "\n"


def _rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> list[str]:
    if len(columns) <= 8:
        return _table(columns, [[_cell(row[column]) for column in columns] for row in rows])
    # One column a row reads better then.
    first, *others = [[column, *(_cell(row[column]) for row in rows)] for column in columns]
    return _table(first, others)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    header = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return header + ["| " + " | ".join(row) + " |" for row in rows]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
