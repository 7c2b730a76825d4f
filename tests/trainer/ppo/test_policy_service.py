"""Runs that sample from a server of their own policy: from the weights of now, or not at all."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Configure
from forked import Gang, free_port
from judge_process import JudgeProcess
from ppo_runs import AHEAD, Judges, Models, figures, settings, write_config
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.judges import JudgeConfig, JudgeGone, JudgeMisfit, PolicyServer
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.progress import read_metrics
from servers import served

from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.models import load_causal_model

TOGETHER = {"sampling.batch_questions": 8, "output.keep_published": 2}  # one draw an update, by either engine


def asks(port: int) -> dict[str, Any]:
    return {
        "sampling.engine": "policy-service",
        "sampling.service.target": f"127.0.0.1:{port}",
        "sampling.service.timeout_s": 10.0,
    }


@pytest.fixture(scope="module")
def itself(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that samples in its own process."""
    return run_ppo(configure(tmp_path_factory.mktemp("itself"), TOGETHER)).metrics.parent


def wait_until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not true() and time.monotonic() < end_s:
        time.sleep(0.05)


@contextmanager
def following(checkpoints: Path, port: int) -> Iterator[None]:
    """A policy server that starts once there is a first checkpoint, and swaps to every newer one."""
    ended = threading.Event()

    def serve() -> None:
        while not [*checkpoints.glob("[!.]*/manifest.json")]:
            if ended.wait(0.02):
                return
        with served("policy", checkpoints, port=port, follow_seconds=0.05):
            ended.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def test_the_server_gives_what_the_policy_itself_would_have_given(
    tmp_path: Path, configure: Configure, itself: Path
) -> None:
    port = free_port()
    run = configure(tmp_path, TOGETHER | asks(port))
    with following(run.output.directory / "checkpoints", port):
        run_ppo(run)
    found = figures(run.output.directory)
    assert len(found) == 6
    assert found == figures(itself)


def test_a_resumed_run_samples_from_the_weights_that_it_resumes(
    tmp_path: Path, configure: Configure, itself: Path
) -> None:
    port = free_port()
    run = configure(tmp_path, TOGETHER | asks(port) | {"updates": 3})
    checkpoints, states = run.output.directory / "checkpoints", run.output.directory / "states"
    with following(checkpoints, port):
        run_ppo(run)
        shutil.rmtree(states / "00000003")  # as if it had been killed before it wrote this one
        assert [path.name for path in sorted(checkpoints.iterdir())][-1] == "policy-000003"  # and the server has it
        run_ppo(configure(tmp_path, TOGETHER | asks(port)))
    assert figures(run.output.directory) == figures(itself)


def test_a_run_that_samples_ahead_asks_for_the_policy_before_its_epochs(tmp_path: Path, configure: Configure) -> None:
    """And does so when it goes on."""
    (tmp_path / "itself").mkdir()
    itself = run_ppo(configure(tmp_path / "itself", TOGETHER | AHEAD)).metrics.parent
    port = free_port()
    run = configure(tmp_path, TOGETHER | AHEAD | asks(port) | {"updates": 3})
    with following(run.output.directory / "checkpoints", port):
        run_ppo(run)
        run_ppo(configure(tmp_path, TOGETHER | AHEAD | asks(port)))
    assert figures(run.output.directory) == figures(itself)


def test_a_policy_server_that_is_killed_pauses_the_run_and_its_outage_is_counted(
    tmp_path: Path, configure: Configure, itself: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    run = configure(tmp_path, TOGETHER | asks(port) | {"sampling.service.timeout_s": 1.0})
    follow = ["--follow-seconds", "0.05"]
    servers: list[JudgeProcess] = []

    def serve_and_kill_once() -> None:
        wait_until(lambda: bool([*run.output.directory.glob("checkpoints/[!.]*/manifest.json")]))
        servers.append(JudgeProcess("policy", run.output.directory / "checkpoints", tmp_path, *follow, port=port))
        wait_until(lambda: len(read_metrics(run.output.directory)) >= 2)
        servers[0].kill()
        wait_until(lambda: "policy judge" in caplog.text)
        servers[0].start_again()

    breaker = threading.Thread(target=serve_and_kill_once)
    breaker.start()
    try:
        with caplog.at_level("WARNING"):
            run_ppo(run)
    finally:
        breaker.join(60)
        servers[0].kill()
    assert f"policy judge at 127.0.0.1:{port} answers again" in caplog.text
    rows = read_metrics(run.output.directory)
    assert rows[4]["judge_retries"] > rows[0]["judge_retries"]
    assert rows[4]["judge_outage_seconds"] > 0.0
    assert figures(run.output.directory) == figures(itself)


def test_processes_ask_the_server_together(tmp_path: Path, models: Models, judges: Judges) -> None:
    port = free_port()
    path = write_config(tmp_path, settings(tmp_path, models, judges, TOGETHER | asks(port) | {"updates": 2}))
    with following(tmp_path / "run" / "checkpoints", port):
        gang = Gang(2, ["train", "ppo", "--config", str(path)], tmp_path / "log")
        assert gang.wait(110.0) == [0, 0], gang.log.read_text()
    rows = figures(tmp_path / "run")
    assert [row["update"] for row in rows] == [0, 1, 2]
    assert [row["episodes"] for row in rows[:2]] == [8.0, 8.0]
    assert rows[0]["kl_nats"] == 0.0  # answers and log-probs of one policy
    assert [row["first_ratio_deviation"] for row in rows[:2]] == [0.0, 0.0]


def test_a_server_of_older_weights_is_never_sampled_from(tmp_path: Path, configure: Configure, models: Models) -> None:
    with served("policy", models.sft) as server:
        config = configure(
            tmp_path,
            {
                "sampling.engine": "policy-service",
                "sampling.service.target": server.target,
                "sampling.service.outage_limit_s": 0.2,
                "output.keep_published": 2,
            },
        )
        with pytest.raises(JudgeGone, match=rf"{read_manifest(models.sft).digest[:12]} of update 0 .*has published"):
            run_ppo(config)


def test_a_server_that_rounds_otherwise_is_refused(models: Models) -> None:
    encoder = load_causal_model(models.sft, torch.float32).encoder
    with served("policy", models.sft, dtype="bfloat16") as server:
        policy = PolicyServer(JudgeConfig(target=server.target), encoder)
        with pytest.raises(JudgeMisfit, match="computes in bfloat16"):
            policy.follow(read_manifest(models.sft).digest)
        policy.close()


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"sampling.engine": "policy-service"}, "needs sampling.service"),
        ({"sampling.service.target": "127.0.0.1:1"}, "no other engine has it"),
        ({"sampling.engine": "policy-service", "sampling.service.target": "127.0.0.1:1"}, "set output.keep_published"),
    ],
)
def test_settings_that_do_not_fit(
    overrides: dict[str, str], problem: str, tmp_path: Path, configure: Configure
) -> None:
    with pytest.raises(ConfigError, match=problem):
        configure(tmp_path, overrides)
