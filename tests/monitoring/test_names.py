"""Documents, code, rules and dashboards name the same metrics: those that are exported."""

from __future__ import annotations

import io
import urllib.request
from pathlib import Path

import pytest
from dashboards import queries
from exported import documented, metric_of, metrics_in
from prometheus_client.parser import text_string_to_metric_families
from rewardplane.trainer.judges import Outages
from rewardplane.trainer.metrics.config import MetricsConfig
from rewardplane.trainer.metrics.exporter import RunMetrics
from rewardplane.trainer.metrics.names import COUNTERS, GAUGES, STAGES
from rewardplane.trainer.metrics.written import Written
from rewardplane.trainer.progress import RunLog
from rich.console import Console
from rules import rules
from servers import Served

from rewardplane import Client

PROMETHEUS_OWN = {"up", "ALERTS"}


def names_at(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        families = text_string_to_metric_families(reply.read().decode())
        names = {sample.name for family in families for sample in family.samples}
    return {metric_of(name) for name in names if not name.endswith("_created")}


@pytest.fixture(scope="module")
def of_servers(reward_server: Served) -> set[str]:
    with Client(reward_server.target) as client:
        client.score([("How was it?", "Good.")])
    return names_at(reward_server.server.metrics_port)


@pytest.fixture(scope="module")
def of_runs(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Of a run that measures everything."""
    written = Written()
    figures = dict.fromkeys([*GAUGES, *COUNTERS, *STAGES, "eval_helpful"], 1.0)
    directory, console = tmp_path_factory.mktemp("run"), Console(file=io.StringIO())
    with RunMetrics(MetricsConfig(port=0), "ppo", updates=2, device="cpu") as metrics:
        metrics.watch(written, {"reward": Outages()})
        with written.timed("publish"):
            written.policy_version = 1
        with RunLog(directory, 2, "ppo", metrics=metrics, console=console) as log:
            log.write(0, figures)
        assert metrics.port
        return names_at(metrics.port)


def test_what_is_exported_is_documented_and_the_other_way_round(of_servers: set[str], of_runs: set[str]) -> None:
    assert of_servers | of_runs == documented()


def test_every_rule_reads_what_is_exported_or_recorded(of_servers: set[str], of_runs: set[str]) -> None:
    known = of_servers | of_runs | set(rules("record")) | PROMETHEUS_OWN
    for name, rule in (rules("alert") | rules("record")).items():
        assert metrics_in(rule["expr"])
        assert metrics_in(rule["expr"]) <= known, name


def test_every_panel_reads_what_is_exported_or_recorded(of_servers: set[str], of_runs: set[str]) -> None:
    known = of_servers | of_runs | set(rules("record")) | PROMETHEUS_OWN
    for panel, expressions in queries().items():
        for expression in expressions:
            assert metrics_in(expression), panel
            assert metrics_in(expression) <= known, panel


def test_every_recording_rule_is_documented() -> None:
    assert set(rules("record")) == {name for name in documented("monitoring.md") if ":" in name}


def test_every_figure_of_a_run_is_in_the_table_of_names() -> None:
    rows = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text().splitlines()
    for figure, metric in GAUGES.items():
        assert any(row.startswith(f"| `{figure}` | `rewardplane_trainer_{metric}` |") for row in rows), figure
