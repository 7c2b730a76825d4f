"""A round whose training was killed goes on, and ends with the policy of an undisturbed one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rewardplane.trainer.progress import METRICS, read_metrics
from rewardplane.trainer.rounds.place import Round, open_round
from rewardplane.trainer.rounds.servers import Serve
from rewardplane.trainer.rounds.train import train_policy, train_reward

CODE = "import sys; from rewardplane.trainer.rounds.command import main; sys.exit(main(sys.argv[1:]))"
TIMEOUT_S = 60.0


def test_a_killed_policy_run_goes_on(first_round: Round, serve: Serve, tmp_path: Path) -> None:
    shutil.copytree(first_round.directory, tmp_path / "round", ignore=shutil.ignore_patterns("ppo"))
    made = open_round(str(tmp_path / "round")).with_step(policy=None)
    metrics = made.directory / "ppo" / METRICS
    with serve("reward", made.trained_reward()) as reward, serve("reference", made.sft()) as reference:
        targets = ["--reward-target", reward, "--reference-target", reference]
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, "train", made.place, *targets], env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        give_up = time.monotonic() + TIMEOUT_S
        while not (metrics.exists() and metrics.read_text().count("\n") >= 1):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert open_round(made.place).record.policy is None
    resumed = train_policy(open_round(made.place), serve)
    assert resumed.record.policy == first_round.record.policy
    assert [row["update"] for row in read_metrics(made.directory / "ppo")] == [0, 1, 2, 3]


def test_a_reward_model_that_was_trained_is_not_trained_again(first_round: Round, tmp_path: Path) -> None:
    """Killed between the checkpoint and the record."""
    shutil.copytree(first_round.directory, tmp_path / "round")
    made = open_round(str(tmp_path / "round")).with_step(policy=None, reward=None)
    before = (made.directory / "reward" / METRICS).stat().st_mtime_ns
    assert train_reward(made).record.reward == first_round.record.reward
    assert (made.directory / "reward" / METRICS).stat().st_mtime_ns == before


def test_rankings_that_changed_are_refused(first_round: Round, tmp_path: Path) -> None:
    shutil.copytree(first_round.directory, tmp_path / "round")
    made = open_round(str(tmp_path / "round")).with_step(policy=None, reward=None)
    with (made.directory / "rankings.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match="is not what was taken in"):
        train_reward(made)
