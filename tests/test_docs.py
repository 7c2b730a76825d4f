"""The documents name every flag, metric and error reason, and nothing they name is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rewardplane.services.__main__ import app
from rewardplane.services.common.faults import REASONS
from typer.main import get_command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SERVICES = ROOT / "services"


def read(name: str) -> str:
    return (DOCS / name).read_text()


def test_every_flag_of_serve_is_documented():
    flags = [option for parameter in get_command(app).params for option in parameter.opts if option.startswith("--")]
    assert len(flags) > 10
    assert not [flag for flag in flags if f"`{flag}`" not in read("serving.md")]


def test_every_error_reason_is_documented():
    assert not [reason for reason in REASONS if f"`{reason}`" not in read("serving.md") + read("client.md")]


def test_every_metric_of_the_servers_is_documented():
    sources = "\n".join(path.read_text() for path in SERVICES.rglob("*.py"))
    metrics = set(re.findall(r'"((?:rewardplane|grpc_server)_[a-z_]+)"', sources)) - {"rewardplane_packed_row"}
    assert len(metrics) > 10
    assert not [metric for metric in metrics if f"`{metric}" not in read("metrics.md")]


def test_every_figure_of_ppo_is_documented():
    sources = "\n".join((ROOT / "trainer" / "ppo" / name).read_text() for name in ("figures.py", "evaluate.py"))
    figures = set(re.findall(r'^ +"([a-z_0-9]+)": (?:float|per_answer)', sources, re.MULTILINE))
    assert {"kl_nats", "eval_score"} <= figures
    assert not [figure for figure in figures if f"`{figure}`" not in read("training.md")]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in DOCS.glob("*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_every_drill_of_the_operations_page_exists():
    named = re.findall(r"`((?:drills|services|client|trainer)/[\w/]+\.py)`", read("operations.md"))
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / "tests" / name).exists()]
