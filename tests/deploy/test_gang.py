"""Pods of an Indexed Job, as processes: a rank is killed, the Job's rules make new pods, the program goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifests import named, overlay
from rewardplane.trainer.config import load_config
from rewardplane.trainer.launch.command import RANK, pod
from rewardplane.trainer.launch.gang import status_of_ranks
from rewardplane.trainer.progress import read_metrics
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.reward.train import run_reward
from tiny_models import save_tiny

PROGRAM = Path(__file__).with_name("counting_gang.py")
WORDS = ["good", "long", "seen", "again"]
ENTRY = "import sys; from rewardplane.__main__ import main; sys.exit(main())"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class IndexedJob:
    """What the Job controller does with pods that fail: one more for the same index, `backoffLimit` times in all."""

    def __init__(self, pods: int, command: list[str], backoff_limit: int) -> None:
        self.command = command
        self.left = backoff_limit
        self.codes: list[int] = []
        self.pods = {index: self._start(index) for index in range(pods)}

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "JOB_COMPLETION_INDEX": str(index)}
        return subprocess.Popen([sys.executable, "-c", ENTRY, *self.command], env=env)

    def run(self, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while self.pods:
            assert time.monotonic() < end_s, "the gang hangs"
            for index, process in list(self.pods.items()):
                if (code := process.poll()) is None:
                    continue
                self.codes.append(code)
                del self.pods[index]
                if code != 0:
                    assert self.left, f"BackoffLimitExceeded: {self.codes}"
                    self.left -= 1
                    self.pods[index] = self._start(index)
            time.sleep(0.1)

    def kill(self) -> None:
        for process in self.pods.values():
            process.kill()


def rank_of(pod_process: subprocess.Popen[bytes]) -> int | None:
    """The process that trains, which the pod's agent has started; None before it has."""
    for children in Path(f"/proc/{pod_process.pid}/task").glob("*/children"):
        for pid in children.read_text().split():
            if RANK in Path(f"/proc/{pid}/cmdline").read_text():
                return int(pid)
    return None


def reward_settings(directory: Path, name: str) -> Path:
    """A run of 40 updates; `name` is its output."""
    rows = [
        {"question": f"Was it {w}?", "answers": [f"{w} {o}" for o in WORDS], "ratings": [1, 2, 3, 0]} for w in WORDS
    ]
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    path = directory / f"{name}.toml"
    path.write_text(
        f'output = "{directory / name}"\nbatch_questions = 4\nmicro_batch_tokens = 40\nepochs = 20\nsave_every = 1\n'
        f'precision = "float32"\n[model]\npath = "{directory}/sft"\n[data]\ntrain = "{directory}/train.jsonl"\n'
        f"[optimizer]\nlearning_rate = 1e-3\neps = 1e-2\n"  # a small eps makes a step of rounding
    )
    return path


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_trainer_of_two_pods_that_loses_a_rank_ends_with_the_numbers_of_an_undisturbed_run(tmp_path: Path) -> None:
    save_tiny(tmp_path / "sft", "sft")
    alone = run_reward(load_config(reward_settings(tmp_path, "alone"), RewardConfig))
    config, run = reward_settings(tmp_path, "gang"), tmp_path / "gang"
    where = ["--pods", "2", "--first-pod", f"127.0.0.1:{free_port()}"]
    job = IndexedJob(2, ["pod", *where, "train", "reward", "--config", str(config)], 12)
    try:
        give_up = time.monotonic() + 200
        while len(read_metrics(run)) < 5 or (rank := rank_of(job.pods[1])) is None:
            assert time.monotonic() < give_up
            assert all(process.poll() is None for process in job.pods.values())
            time.sleep(0.02)
        os.kill(rank, signal.SIGKILL)
        job.run(200)
    finally:
        job.kill()
    assert set(job.codes) == {0, 75}
    assert job.codes.count(0) == 2
    ours, expected = read_metrics(run), read_metrics(alone.checkpoint.parent)
    assert [row["update"] for row in ours] == list(range(40))
    assert [row["loss"] for row in ours] == pytest.approx([row["loss"] for row in expected], rel=1e-4)
    assert (run / "checkpoint" / "manifest.json").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_gang_that_loses_a_rank_comes_back_and_goes_on(tmp_path: Path, ranks: int) -> None:
    backoff_limit = named(overlay("prod"), "CronJob", "trainer")["spec"]["jobTemplate"]["spec"]["backoffLimit"]
    where = ["--pods", "2", "--ranks-per-pod", str(ranks), "--first-pod", f"127.0.0.1:{free_port()}"]
    job = IndexedJob(2, ["pod", *where, "python", str(PROGRAM), str(tmp_path), "10", "4"], 2 * backoff_limit)
    try:
        job.run(240)
    finally:
        job.kill()
    # 10 steps of all ranks, each counted once, though the ranks began twice: at 0, and again at 4.
    assert (tmp_path / "state").read_text() == f"10 {10 * 2 * ranks}"
    assert (tmp_path / "starts").read_text().split() == ["0", "4"]
    assert set(job.codes) == {0, 75}
    assert job.codes.count(0) == 2


def test_a_rank_with_wrong_settings_fails_the_job(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text("raise SystemExit(64)\n")
    done = subprocess.run([sys.executable, "-c", ENTRY, "pod", "python", str(program)], check=False)
    assert done.returncode == 64


def test_the_worst_of_the_ranks_decides() -> None:
    assert status_of_ranks([1, 64, -9]) == 64
    assert status_of_ranks([-9]) == 75
    assert status_of_ranks([-15, 1]) == 75


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pods", "0", "python", "x.py"], "1 or more"),
        (["bash"], "the command is"),
        ([], "the command is"),
        (["--pod", "2", "python", "x.py"], "unrecognized arguments: --pod"),
    ],
)
def test_what_cannot_run_ends_with_64_and_says_why(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pod(words) == 64
    assert said in capsys.readouterr().err


def test_a_pod_that_is_not_of_the_gang_ends_with_64(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert pod(["--pods", "2", "python", "x.py"]) == 64
    assert "pod 2 (JOB_COMPLETION_INDEX) of --pods 2" in capsys.readouterr().err
