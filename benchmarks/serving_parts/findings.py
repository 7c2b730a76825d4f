"""What was measured, round by round, and the table and bars that it makes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .load import Window

OURS = "rewardplane"


@dataclass
class Findings:
    """Figures of every case and server, one a round, and what could not be measured."""

    figures: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""

    @classmethod
    def read(cls, path: Path) -> Findings:
        """What `write` wrote; nothing where there is no file."""
        findings = cls()
        if path.exists():
            content = json.loads(path.read_text())
            for case, server, figures in content["figures"]:
                findings.figures[case, server] = figures
            findings.missing = content["missing"]
        return findings

    def write(self, path: Path) -> None:
        figures = [[case, server, rounds] for (case, server), rounds in self.figures.items()]
        path.write_text(json.dumps({"figures": figures, "missing": self.missing}))

    def add(self, case: str, server: str, figures: Mapping[str, float]) -> None:
        self.figures[case, server].append(dict(figures))

    def add_window(self, case: str, server: str, window: Window) -> None:
        self.add(
            case,
            server,
            {
                "pairs/s": window.pairs_per_s,
                "CPU ms/pair": window.cpu_ms_per_pair,
                "CPU us/token": window.cpu_us_per_token,
                "CPU us/answer token": window.cpu_us_per_answer_token,
                "tokens/s": window.tokens_per_s,
                "p50 ms": window.latency_ms(50),
                "p99 ms": window.latency_ms(99),
                "pairs": window.pairs,
            },
        )

    def ratio(self, figure: str, above: tuple[str, str], below: tuple[str, str]) -> float | None:
        """The median over the rounds of one server's figure over another's; None where one was not measured."""
        return self.combined(lambda a, b: a[figure] / b[figure], above, below)

    def combined(
        self,
        combine: Callable[[dict[str, float], dict[str, float]], float],
        first: tuple[str, str],
        second: tuple[str, str],
    ) -> float | None:
        """The median over the rounds of something made of the figures of two."""
        one, other = self.figures.get(first, []), self.figures.get(second, [])
        if not one or not other:
            return None
        return median(combine(a, b) for a, b in zip(one, other, strict=True))

    def rows(self, columns: tuple[str, ...]) -> list[dict[str, Any]]:
        """One row a case and server, with the medians of its rounds."""
        rows = []
        for (case, server), rounds in self.figures.items():
            row: dict[str, Any] = {"case": case, "server": server}
            for column in columns:
                values = [figures[column] for figures in rounds if column in figures]
                row[column] = median(values) if values else ""
            if any(row[column] != "" for column in columns):  # differences have bars, and no column
                rows.append(row)
        return rows
