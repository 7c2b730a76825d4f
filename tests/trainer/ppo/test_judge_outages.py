"""Judges that are killed, started again, replaced or gone for good, while a run needs them."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import Configure
from judge_process import JudgeProcess
from ppo_runs import Models, digests, figures
from rewardplane.trainer.judges import JudgeConfig, JudgeGone, RewardJudge
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.progress import read_metrics
from servers import Served, served
from tiny_models import make_tokenizer, save_tiny

from rewardplane.errors import DigestMismatch
from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.encoding import PairEncoder


def at_evaluation(number: int, act: Callable[[], None]) -> Callable[..., Mapping[str, float]]:
    """What a run calls at each evaluation (updates 0, 2 and 4), and which acts on the n-th, from 0."""
    calls = []

    def judge(questions: Sequence[str], answers: Sequence[str]) -> Mapping[str, float]:
        calls.append(len(answers))
        if len(calls) == number + 1:
            act()
        return {}

    return judge


@pytest.mark.parametrize(
    ("role", "accident", "ahead"),
    [("reward", "killed", 0), ("reference", "killed", 0), ("reward", "stopped", 0), ("reward", "killed", 1)],
)
def test_killed_or_stopped_judge_pauses_the_run_and_changes_no_number(
    role: str,
    accident: str,
    ahead: int,
    tmp_path: Path,
    configure: Configure,
    judge_processes: dict[str, JudgeProcess],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    undisturbed: PpoRunConfig = request.getfixturevalue("undisturbed_ahead" if ahead else "undisturbed")
    process = judge_processes[role]
    notice = f"the {role} judge at {process.target} does not answer"

    def break_and_mend_once_noticed() -> None:
        process.kill() if accident == "killed" else os.kill(process.pid, signal.SIGSTOP)
        end_s = time.monotonic() + 30
        while notice not in caplog.text and time.monotonic() < end_s:
            time.sleep(0.05)
        process.start_again() if accident == "killed" else os.kill(process.pid, signal.SIGCONT)

    breaker = threading.Thread(target=break_and_mend_once_noticed)
    with caplog.at_level(logging.WARNING):
        run_ppo(
            configure(tmp_path, {f"{role}.timeout_s": 1.0, "sampling.ahead": ahead}), at_evaluation(1, breaker.start)
        )
    breaker.join()
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert errors
    assert all(notice in error for error in errors)  # and of the other judge nothing is said
    assert f"{role} judge at {process.target} answers again" in caplog.text
    retries = [row["judge_retries"] for row in read_metrics(tmp_path / "run") if "judge_retries" in row]
    assert retries[4] > retries[1]
    assert digests(tmp_path / "run") == digests(undisturbed.output.directory)
    assert figures(tmp_path / "run") == figures(undisturbed.output.directory)


class Replaceable:
    """A judge in this process, which something else can take the place of."""

    def __init__(self, role: str, model: Path) -> None:
        self.role = role
        self._context = served(role, model)
        self.server: Served | None = self._context.__enter__()
        self.target = self.server.target

    def stop(self) -> None:
        if self.server is not None:
            self._context.__exit__(None, None, None)
        self.server = None

    def replace(self, model: Path) -> None:
        self.stop()
        self._context = served(self.role, model, port=int(self.target.rpartition(":")[2]))
        self.server = self._context.__enter__()


@pytest.mark.parametrize("role", ["reward", "reference"])
def test_another_checkpoint_behind_the_same_address_stops_the_run_at_once(
    role: str, tmp_path: Path, configure: Configure, models: Models
) -> None:
    other = tmp_path / "other"
    save_tiny(other, "reward" if role == "reward" else "sft", seed=11)
    judge = Replaceable(role, models.reward if role == "reward" else models.sft)
    try:
        config = configure(tmp_path, {f"{role}.target": judge.target, "output.publish_every": 0})
        with pytest.raises(DigestMismatch, match=judge.target) as caught:
            run_ppo(config, at_evaluation(1, lambda: judge.replace(other)))
    finally:
        judge.stop()
    assert caught.value.reason == "CHECKPOINT_DIGEST_MISMATCH"
    assert [row["update"] for row in figures(tmp_path / "run")] == [0, 1]
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("role", ["reward", "reference"])
def test_judge_that_stays_away_too_long_ends_the_run(
    role: str, tmp_path: Path, configure: Configure, models: Models
) -> None:
    judge = Replaceable(role, models.reward if role == "reward" else models.sft)
    overrides = {f"{role}.target": judge.target, f"{role}.timeout_s": 0.5, f"{role}.outage_limit_s": 2.0}
    try:
        config = configure(tmp_path, overrides)
        with pytest.raises(JudgeGone, match=rf"the {role} judge at {judge.target} has not answered for .*= 2\)"):
            run_ppo(config, at_evaluation(1, judge.stop))
    finally:
        judge.stop()
    assert [row["update"] for row in figures(tmp_path / "run")] == [0, 1]
    # What was saved is whole: with the judge back, the run ends as if nothing had been.
    assert (tmp_path / "run" / "states" / "00000002").is_dir()


def test_replaced_judge_stops_the_run_while_it_waits_for_the_other(
    tmp_path: Path, configure: Configure, models: Models
) -> None:
    """A reference of other weights cannot be waited out, however long the reward judge is down."""
    save_tiny(tmp_path / "other", "sft", seed=11)
    reward, reference = Replaceable("reward", models.reward), Replaceable("reference", models.sft)

    def break_both() -> None:
        reward.stop()
        reference.replace(tmp_path / "other")

    overrides = {
        "reward.target": reward.target,
        "reward.timeout_s": 0.3,
        "reward.outage_limit_s": 8.0,
        "reference.target": reference.target,
    }
    try:
        with pytest.raises(DigestMismatch, match=reference.target):
            run_ppo(configure(tmp_path, overrides), at_evaluation(1, break_both))
    finally:
        reward.stop()
        reference.stop()


def test_judge_that_starts_later_than_the_run_is_waited_for(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    judge = Replaceable("reward", models.reward)
    judge.stop()
    late = threading.Timer(0.8, judge.replace, [models.reward])
    late.start()
    try:
        config = JudgeConfig(target=judge.target, timeout_s=0.3)
        reached = RewardJudge(config, PairEncoder(make_tokenizer(), [1], 320))
        reached.close()
    finally:
        late.join()
        judge.stop()
    assert reached.digest == read_manifest(models.reward).digest
    assert f"the reward judge at {judge.target} does not answer" in caplog.text
