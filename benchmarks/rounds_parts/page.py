"""The findings as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {
    "two-rounds": "Two rounds, policies at equal KL",
    "k": "K = 9 against K = 4: held-out accuracy of the reward model, five seeds",
    "active": "Active choice against random: held-out accuracy of the reward model, five seeds",
}


def markdown(content: Mapping[str, Any]) -> str:
    lines = [
        "# rounds",
        "",
        f"`{content['command']}`, {content['hardware']}",
        "",
        f"SIMULATED: {content['simulated']}.",
    ]
    if content["not measured"]:
        lines += ["", f"Not measured: {'; '.join(content['not measured'])}."]
    for part, title in TITLES.items():
        rows = content.get(part)
        if not rows:
            continue
        if part == "two-rounds":  # one column a seed reads better
            figures = [name for name in rows[0] if name != "name"]
            rows = [{"": figure, **{row["name"]: row[figure] for row in rows}} for figure in figures]
        lines += ["", f"## {title}", "", *table(rows)]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [column for column in rows[0] if column != "seeds"]
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    header = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return header + ["| " + " | ".join(row) + " |" for row in cells]


def _cell(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
