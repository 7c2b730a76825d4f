"""A run that was stopped or killed goes on to the very bits of one that was not."""

from __future__ import annotations

import json
import random
import statistics
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import Configure
from forked import Command
from ppo_runs import Judges, Models, assert_same_run, settings, write_config, write_lines
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.progress import read_metrics
from servers import served
from tiny_models import save_tiny

from rewardplane.errors import DigestMismatch

SMALLEST = {"sampling.questions_per_update": 2, "evaluation.prompts": None, "score.normalise_answers": 0}


def test_state_holds_both_models_and_both_optimizers(undisturbed: PpoRunConfig) -> None:
    tensors = torch.load(newest_state(undisturbed.output.directory / "states") / "tensors.pt", weights_only=True)
    assert tensors.keys() == {"policy", "value", "policy_optimizer", "value_optimizer"}
    for name in ("policy", "value"):
        moments = tensors[f"{name}_optimizer"]["state"]
        assert len(moments) == len(tensors[name])
        # 5 updates of 2 epochs of 2 minibatches.
        assert {float(moment["step"]) for moment in moments.values()} == {20.0}


def test_run_that_ended_goes_on_when_asked_for_more(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig
) -> None:
    run_ppo(configure(tmp_path, {"updates": 2}))
    assert [row["update"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2]
    run_ppo(configure(tmp_path, {}))
    assert_same_run(tmp_path / "run", undisturbed.output.directory)


@pytest.mark.parametrize("ahead", [0, 1])
def test_kill_9_at_random_moments_changes_no_bit(
    ahead: int, tmp_path: Path, models: Models, judges: Judges, request: pytest.FixtureRequest
) -> None:
    undisturbed: PpoRunConfig = request.getfixturevalue("undisturbed_ahead" if ahead else "undisturbed")
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    path = write_config(tmp_path, settings(tmp_path, models, judges, {"sampling.ahead": ahead}))
    seconds = statistics.median(row["seconds_total"] for row in read_metrics(undisturbed.output.directory)[:5])
    statuses = []
    for updates in (1, 2):
        command = Command(["train", "ppo", "--config", str(path)], tmp_path / "log")
        wait_for_updates(command, tmp_path / "run", updates)
        time.sleep(moments.uniform(0.0, 1.2) * seconds)
        command.kill()
        statuses.append(command.wait(1))
    assert Command(["train", "ppo", "--config", str(path)], tmp_path / "log").wait(60) == 0
    assert -9 in statuses, f"no process was still running when it was killed (seed {seed})"
    assert_same_run(tmp_path / "run", undisturbed.output.directory)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("ahead", [0, 1])
def test_20_kills_in_one_run_change_no_bit(
    ahead: int, tmp_path: Path, models: Models, judges: Judges, configure: Configure
) -> None:
    """At moments that know nothing of what the run is at: while it starts, samples, learns, writes or removes."""
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    updates = {"updates": 60, "sampling.ahead": ahead}
    (tmp_path / "undisturbed").mkdir()
    undisturbed = configure(tmp_path / "undisturbed", updates)
    run_ppo(undisturbed)
    path = write_config(tmp_path, settings(tmp_path, models, judges, updates))
    command = Command(["train", "ppo", "--config", str(path)], tmp_path / "log")
    wait_for_updates(command, tmp_path / "run", 1)
    seconds = statistics.median(row["seconds_total"] for row in read_metrics(undisturbed.output.directory)[:-1])
    reached = []
    for _ in range(20):
        time.sleep(moments.uniform(0.0, 5 * seconds))
        command.kill()
        assert command.wait(1) == -9, f"the run ended before it was killed 20 times (seed {seed})"
        reached.append(len(read_metrics(tmp_path / "run")))
        command = Command(["train", "ppo", "--config", str(path)], tmp_path / "log")
        # Half of the lives are killed before they get anywhere.
        if moments.random() < 0.5:
            wait_for_updates(command, tmp_path / "run", reached[-1] + 1)
    assert command.wait(300) == 0
    print(f"seed {seed}: killed when {reached} lines of metrics were written")
    assert_same_run(tmp_path / "run", undisturbed.output.directory)


def wait_for_updates(command: Command, directory: Path, updates: int) -> None:
    end_s = time.monotonic() + 60
    while len(read_metrics(directory)) < updates:
        assert command.process.is_alive() or command.wait(1) == 0, command.log.read_text()
        assert time.monotonic() < end_s, command.log.read_text()
        time.sleep(0.01)


def test_only_the_newest_states_are_kept(undisturbed: PpoRunConfig) -> None:
    states = undisturbed.output.directory / "states"
    assert sorted(path.name for path in states.iterdir()) == ["00000004", "00000005"]  # keep_states is 2
    assert json.loads((states / "00000005/progress.json").read_text())["update"] == 5


def test_half_written_state_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".state.a1b2").mkdir()
    (tmp_path / ".state.a1b2" / "tensors.pt").write_bytes(b"half")
    assert newest_state(tmp_path) is None
    (tmp_path / "00000003").mkdir()
    (tmp_path / "00000012").mkdir()
    assert newest_state(tmp_path) == tmp_path / "00000012"


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path, configure: Configure) -> None:
    leftover = tmp_path / "run" / "states" / ".state.a1b2"
    leftover.mkdir(parents=True)
    (leftover / "tensors.pt").write_bytes(b"half")
    run_ppo(configure(tmp_path, {**SMALLEST, "updates": 1}))
    assert not leftover.exists()  # a killed run of a large model would leave its size on disk each time


def test_samples_of_an_update_that_is_done_again_are_written_once(tmp_path: Path, configure: Configure) -> None:
    held_out = write_lines(tmp_path / "one.jsonl", "question", ["A"])
    overrides = {**SMALLEST, "evaluation.prompts": str(held_out), "evaluation.every": 1}
    run_ppo(configure(tmp_path, {**overrides, "updates": 1}))
    run_ppo(configure(tmp_path, {**overrides, "updates": 2}))
    lines = (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    # One held-out question, 2 answers, before update 0, before update 1 (also how the first run ended), at the end.
    assert [json.loads(line)["update"] for line in lines] == [0, 0, 1, 1, 2, 2]


def test_run_is_not_continued_with_another_reward_model(tmp_path: Path, configure: Configure) -> None:
    """Its scores would be normalised by the mean and spread of those of the first one."""
    run_ppo(configure(tmp_path, {**SMALLEST, "updates": 1}))
    save_tiny(tmp_path / "other", "reward", seed=9)
    with served("reward", tmp_path / "other") as server, pytest.raises(DigestMismatch, match=server.target):
        run_ppo(configure(tmp_path, {**SMALLEST, "updates": 2, "reward.target": server.target}))


def test_new_run_does_not_pass_an_old_checkpoint_off_as_its_own(tmp_path: Path, configure: Configure) -> None:
    overrides = {**SMALLEST, "updates": 1, "output.save_every": 0}
    old = run_ppo(configure(tmp_path, overrides))
    new = None
    with suppress(ConfigError, FileExistsError):
        new = run_ppo(configure(tmp_path, {**overrides, "seed": 1}))
    assert new is None or new.manifest.digest != old.manifest.digest  # refused, or its own
