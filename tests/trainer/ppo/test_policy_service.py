"""Runs that sample from a server of their own policy: from the weights of now, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import Configure
from ppo_runs import Models, figures
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.judges import JudgeConfig, JudgeGone, JudgeMisfit, PolicyServer
from rewardplane.trainer.ppo.train import run_ppo
from servers import served

from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.models import load_causal_model


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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


def test_the_server_gives_what_the_policy_itself_would_have_given(tmp_path: Path, configure: Configure) -> None:
    port = free_port()
    together = {"sampling.batch_questions": 8, "output.keep_published": 2}  # one draw an update, by either
    asks = {
        "sampling.engine": "policy-service",
        "sampling.service.target": f"127.0.0.1:{port}",
        "sampling.service.timeout_s": 10.0,
    }
    for name in ("asks", "itself"):
        (tmp_path / name).mkdir()
    run = configure(tmp_path / "asks", together | asks)
    with following(run.output.directory / "checkpoints", port):
        run_ppo(run)
    itself = configure(tmp_path / "itself", together)
    run_ppo(itself)
    found = figures(run.output.directory)
    assert len(found) == 6
    assert found == figures(itself.output.directory)


def test_a_static_cache_draws_what_the_run_draws_without(tmp_path: Path, configure: Configure) -> None:
    runs = []
    for engine in ("model", "static"):
        (tmp_path / engine).mkdir()
        runs.append(configure(tmp_path / engine, {"sampling.engine": engine, "updates": 1}))
        run_ppo(runs[-1])
    found, expected = (figures(run.output.directory) for run in runs)
    assert found == expected


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
