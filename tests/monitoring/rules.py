"""The rules of deploy/components/monitoring as Prometheus itself reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

COMPONENT = Path(__file__).parents[2] / "deploy" / "components" / "monitoring"
METRIC = re.compile(r"\b(?:(?:rewardplane|grpc_server|process)_[a-z_0-9]+|(?:component|run):[a-z_]+:[a-z_0-9]+)\b")
"""In an expression: what servers and runs export, and what rules record."""


@cache
def groups() -> list[dict[str, Any]]:
    objects = [item for path in sorted(COMPONENT.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]
    rules = [item for item in objects if item["kind"] == "PrometheusRule"]
    return [group for rule in rules for group in rule["spec"]["groups"]]


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """By name; `kind` is "alert" or "record"."""
    return {rule[kind]: rule for group in groups() for rule in group["rules"] if kind in rule}


def write_rules(path: Path) -> Path:
    path.write_text(yaml.safe_dump({"groups": groups()}))
    return path


def tool(name: str) -> str:
    """promtool or prometheus, of the Debian package `prometheus`."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install --no-install-recommends prometheus")
    return found


def promtool(*arguments: str | Path, cwd: Path) -> None:
    done = subprocess.run(
        [tool("promtool"), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
