"""docs/serving.md and docs/metrics.md name every flag, error reason and metric of a server, and no others."""

from __future__ import annotations

import inspect
import re
import urllib.request
from pathlib import Path

from rewardplane.services.__main__ import command
from rewardplane.services.common import faults
from servers import Served

DOCS = Path(__file__).parents[2] / "docs"


def first_cells(text: str, pattern: str) -> set[str]:
    return set(re.findall(rf"^\| `?({pattern})`? \|", text, re.MULTILINE))


def test_flags() -> None:
    flags = {"--" + name.replace("_", "-") for name in inspect.signature(command).parameters if name != "role"}
    assert first_cells((DOCS / "serving.md").read_text(), r"--[a-z-]+") == flags


def test_error_reasons() -> None:
    table = (DOCS / "serving.md").read_text().split("## Errors")[1]
    assert set(re.findall(r"^\| [A-Z_]+ \| ([A-Z_]+) \|", table, re.MULTILINE)) == set(faults.REASONS)


def test_metrics(policy_server: Served) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{policy_server.server.metrics_port}/metrics") as reply:
        exposed = set(re.findall(r"^# TYPE (\S+)", reply.read().decode(), re.MULTILINE))
    ours = {name for name in exposed if not name.endswith("_created") and not name.startswith("process_")}
    servers = (DOCS / "metrics.md").read_text().split("## Servers")[1].split("\n## ")[0]
    assert first_cells(servers, r"[a-z_]+") - {"metric", "question"} == ours
