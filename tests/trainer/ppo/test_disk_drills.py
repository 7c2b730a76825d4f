"""A run whose disk is full or read-only, and what it goes on from when a byte of it has changed."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import Configure
from ppo_runs import Judges, Models, assert_same_run, settings, write_config
from rewardplane.trainer.__main__ import train
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.ppo.train import run_ppo
from small_disk import small_disk

from rewardplane.modeling.checkpoint import BadCheckpoint

SMALLEST = {"sampling.questions_per_update": 2, "evaluation.prompts": None, "score.normalise_answers": 0}


def test_full_disk_ends_the_run_and_it_goes_on_to_the_same_bits(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        evaluations = []

        def fill_at_the_second(questions: Sequence[str], answers: Sequence[str]) -> Mapping[str, float]:
            evaluations.append(1)
            if len(evaluations) == 2:
                disk.fill()
            return {}

        config = configure(tmp_path, {"output.directory": str(disk.path / "run")})
        with pytest.raises(OSError, match="No space left on device") as caught:
            run_ppo(config, fill_at_the_second)
        assert caught.value.errno == errno.ENOSPC
        states = sorted(path.name for path in (disk.path / "run" / "states").iterdir())
        assert states  # whole ones alone
        assert not [name for name in states if name.startswith(".")]
        disk.make_room()
        run_ppo(config)
        assert_same_run(disk.path / "run", undisturbed.output.directory)


def test_read_only_disk_is_refused_by_name_before_anything_is_sampled(tmp_path: Path, configure: Configure) -> None:
    with small_disk(tmp_path / "disk") as disk:
        config = configure(tmp_path, {**SMALLEST, "output.directory": str(disk.path / "run")})
        disk.read_only()
        with pytest.raises(OSError, match=f"Read-only file system.*{disk.path}"):
            run_ppo(config)


def test_disk_that_becomes_read_only_ends_the_run_and_it_goes_on_to_the_same_bits(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        config = configure(tmp_path, {"output.directory": str(disk.path / "run"), "updates": 2})
        run_ppo(config)
        disk.read_only()
        longer = configure(tmp_path, {"output.directory": str(disk.path / "run")})
        with pytest.raises(OSError, match="Read-only file system"):
            run_ppo(longer)
        disk.read_only(False)
        run_ppo(longer)
        assert_same_run(disk.path / "run", undisturbed.output.directory)


@pytest.mark.parametrize("name", ["tensors.pt", "progress.json", "sha256.json"])
def test_state_with_a_byte_changed_is_refused_by_name(name: str, tmp_path: Path, configure: Configure) -> None:
    run_ppo(configure(tmp_path, {**SMALLEST, "updates": 1}))
    state = newest_state(tmp_path / "run" / "states")
    flip_a_byte(state / name)
    with pytest.raises(BadCheckpoint, match=f"{state}.*remove that state"):
        run_ppo(configure(tmp_path, {**SMALLEST, "updates": 2}))


def test_policy_with_a_byte_changed_is_refused_by_name(tmp_path: Path, configure: Configure, models: Models) -> None:
    torn = tmp_path / "sft"
    torn.mkdir()
    for path in models.sft.iterdir():
        (torn / path.name).write_bytes(path.read_bytes())
    flip_a_byte(torn / "model.safetensors")
    with pytest.raises(BadCheckpoint, match=str(torn)):
        run_ppo(configure(tmp_path, {**SMALLEST, "policy.path": str(torn)}))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_full_disk_is_one_line_and_exit_status_1(
    tmp_path: Path, models: Models, judges: Judges, capfd: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", size="1m") as disk:
        overrides = {**SMALLEST, "updates": 1, "output.directory": str(disk.path / "run")}
        path = write_config(tmp_path, settings(tmp_path, models, judges, overrides))
        assert train(["ppo", "--config", str(path)]) == 1
    said = capfd.readouterr().err
    assert said.splitlines()[-1].startswith("error: [Errno 28] No space left on device")
    assert "Traceback" not in said
