"""Real servers, real runs under load, and a real Prometheus that watches them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import live_runs
import pytest
from dashboards import queries
from exported import documented
from prometheus_server import Prometheus, Target, free_port, running_prometheus, until
from servers import Process
from tiny_models import save_tiny

from rewardplane import Client
from rewardplane.errors import RewardplaneError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUNS = ("sft-1", "reward-1", "ppo-1", "ppo-2")
NEED_A_DAY = {"scoring-service.json: Distance to the scores of a day ago"}
NEED_AN_ALERT = {"fleet.json: Firing"}


@dataclass
class Fleet:
    """Two servers, their load, and the ports of four runs."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    metrics_ports: dict[str, int] = field(default_factory=dict)
    servers: dict[str, Process] = field(default_factory=dict)

    @property
    def judges(self) -> live_runs.Judges:
        return live_runs.Judges(f"127.0.0.1:{self.ports['reward']}", f"127.0.0.1:{self.ports['reference']}")

    def serve(self, role: str) -> None:
        """On the ports that it had before."""
        model = self.folder / "models" / ("reward" if role == "reward" else "sft")
        flags = ("--port", str(self.ports[role]), "--metrics-port", str(self.metrics_ports[role]))
        self.servers[role] = Process(role, model, self.folder, *flags)
        self.servers[role].wait_until_serving()

    def targets(self) -> list[Target]:
        servers = [
            Target("rlhf/servers", self.metrics_ports[role], {"app_kubernetes_io_component": role, "pod": f"{role}-a"})
            for role in ("reward", "reference")
        ]
        return servers + [
            Target("rlhf/trainers", self.metrics_ports[run], {"run": run, "pod": f"{run}-a"}) for run in RUNS
        ]

    def ask(self, stop: threading.Event) -> None:
        """Calls of other teams: ten texts to a question."""
        targets = self.judges
        with Client(targets.reward, timeout_s=5) as reward, Client(targets.reference, timeout_s=5) as reference:
            number = 0
            while not stop.wait(0.02):
                pairs = [(f"What did you think of it, {number}?", f"Good {answer}.") for answer in range(10)]
                with suppress(RewardplaneError):
                    reward.score(pairs)
                    reference.logprobs(pairs)
                number += 1


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    save_tiny(folder / "models" / "sft", "sft", seed=2, eos_token_id=[1, *range(40, 80)])
    save_tiny(folder / "models" / "reward", "reward", seed=1)
    fleet = Fleet(folder)
    fleet.ports = {role: free_port() for role in ("reward", "reference")}
    fleet.metrics_ports = {name: free_port() for name in ("reward", "reference", *RUNS)}
    stop = threading.Event()
    with ExitStack() as stack:
        stack.callback(lambda: [server.close() for server in fleet.servers.values()])
        for role in ("reward", "reference"):
            fleet.serve(role)
        load = threading.Thread(target=fleet.ask, args=[stop], daemon=True)
        load.start()
        stack.callback(load.join, 30)
        stack.callback(stop.set)
        yield fleet


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet) -> Iterator[Prometheus]:
    with running_prometheus(fleet.folder / "prometheus", fleet.targets()) as prometheus:
        yield prometheus


def test_every_documented_metric_and_every_panel_has_data(fleet: Fleet, prometheus: Prometheus) -> None:
    ports = fleet.metrics_ports
    config = live_runs.ppo(fleet.folder / "ppo-1", fleet.folder / "models", fleet.judges, ports["ppo-1"])
    models = (live_runs.sft(fleet.folder, ports["sft-1"]), live_runs.reward(fleet.folder, ports["reward-1"]))
    trainers = [live_runs.start("models", *models), live_runs.start("ppo", config)]
    assert [trainer.wait(300) for trainer in trainers] == [0, 0], (fleet.folder / "ppo-1" / "ppo.log").read_text()
    # The last scrape, for which the run waited, saw its end.
    assert prometheus.value('last_over_time(rewardplane_trainer_update{run="ppo-1"}[10m])') == 20
    assert prometheus.value('last_over_time(rewardplane_trainer_finished{run="ppo-1"}[10m])') == 1
    seen = {
        name: prometheus.value(f'count(last_over_time({{__name__=~"{name}(_count)?"}}[15m]))') for name in documented()
    }
    assert not [name for name, series in seen.items() if not series]
    recorded = [name for name in documented("monitoring.md") if ":" in name and not name.endswith("_1d")]
    assert not [name for name in recorded if not prometheus.series_over_time(name)]
    for panel, expressions in queries(rate_interval="10s").items():
        if panel not in NEED_A_DAY | NEED_AN_ALERT:
            for expression in expressions:
                assert prometheus.series_over_time(expression), f"{panel}: {expression}"
    assert not {alert for alert, _ in prometheus.firing()} & {"RewardplaneServerDown", "RewardplaneTrainerStalled"}


def test_alerts_fire_after_a_kill_and_clear_after_the_restart(fleet: Fleet, prometheus: Prometheus) -> None:
    models, port = fleet.folder / "models", fleet.metrics_ports["ppo-2"]
    changes = {"updates": 100_000, "output__save_every": 1, "evaluation__every": 0}
    config = live_runs.ppo(fleet.folder / "ppo-2", models, fleet.judges, port, **changes)
    with ExitStack() as stack:
        trainer = started(stack, config)
        updates = 'rewardplane_trainer_update{run="ppo-2"}'
        until(lambda: (prometheus.value(updates) or 0) >= 2, "the run gets on")

        fleet.servers["reward"].close()  # SIGKILL
        until(lambda: ("RewardplaneServerDown", "reward") in prometheus.firing(), "server down fires")
        until(lambda: ("RewardplaneJudgeOutage", "ppo-2") in prometheus.firing(), "judge outage fires")
        assert ("RewardplaneServerDown", "reference") not in prometheus.firing()
        fleet.serve("reward")
        until(lambda: ("RewardplaneServerDown", "reward") not in prometheus.firing(), "server down clears")
        before = prometheus.value(updates) or 0
        until(lambda: (prometheus.value(updates) or 0) >= before + 2, "the run goes on")
        until(lambda: ("RewardplaneJudgeOutage", "ppo-2") not in prometheus.firing(), "judge outage clears")
        until(lambda: ("RewardplaneTrainerStalled", "ppo-2") not in prometheus.firing(), "nothing is stalled")

        trainer.kill()
        until(lambda: ("RewardplaneTrainerStalled", "ppo-2") in prometheus.firing(), "trainer stalled fires")
        assert ("RewardplaneTrainerStalled", "ppo-1") not in prometheus.firing()  # it has ended as it should
        trainer = started(stack, config)
        until(lambda: ("RewardplaneTrainerStalled", "ppo-2") not in prometheus.firing(), "trainer stalled clears")
        until(lambda: (prometheus.value(updates) or 0) > before, "it goes on where it was")
    (panel,) = NEED_AN_ALERT
    (expression,) = queries()[panel]
    assert prometheus.series_over_time(expression) >= 3


def started(stack: ExitStack, config: Path) -> subprocess.Popen[bytes]:
    trainer = live_runs.start("ppo", config)
    stack.callback(trainer.wait, 30)
    stack.callback(trainer.kill)
    return trainer
