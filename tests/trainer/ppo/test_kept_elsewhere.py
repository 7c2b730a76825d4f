"""States and checkpoints at a URL: a run whose disk is lost goes on from there to the bit."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
import torch
from conftest import Configure
from forked import Command
from fsspec.implementations.memory import MemoryFileSystem
from ppo_runs import Judges, Models, assert_equal_to_the_bit, digests, figures, settings, write_config
from rewardplane.trainer.__main__ import train
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.mirror import CHECKPOINTS, STATES, Mirror
from rewardplane.trainer.ppo.train import run_ppo
from s3_server import Bucket


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    base = "memory://" if request.param == "memory" else request.getfixturevalue("s3").url
    return f"{base}/{tmp_path.name}/run"


def test_run_whose_disk_is_lost_goes_on_from_the_url_to_the_bit(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig, url: str
) -> None:
    run_ppo(configure(tmp_path, {"updates": 3, "output.url": url}))
    there = Mirror(url)
    assert there.names(STATES) == ["00000002", "00000003"]  # keep_states is 2
    assert there.names(CHECKPOINTS) == ["policy-000002", "policy-000003"]
    shutil.rmtree(tmp_path / "run")
    run_ppo(configure(tmp_path, {"output.url": url}))
    assert figures(tmp_path / "run") == figures(undisturbed.output.directory)
    assert there.names(STATES) == ["00000004", "00000005"]
    assert there.names(CHECKPOINTS) == ["policy-000002", "policy-000003", "policy-000004", "policy-000005"]
    fetched = tmp_path / "fetched" / "checkpoints"
    for name in digests(undisturbed.output.directory):
        (fetched / name).mkdir(parents=True)
        there.fetch(CHECKPOINTS, name, fetched / name)
    assert digests(fetched.parent) == digests(undisturbed.output.directory)


def test_killed_run_whose_disk_is_lost_goes_on_from_s3_to_the_bit(
    tmp_path: Path, models: Models, judges: Judges, undisturbed: PpoRunConfig, s3: Bucket
) -> None:
    url = f"{s3.url}/{tmp_path.name}/killed"
    path = write_config(tmp_path, settings(tmp_path, models, judges, {"output.url": url}))
    command = Command(["train", "ppo", "--config", str(path)], tmp_path / "log", s3.environment)
    there = Mirror(url)
    while "00000002" not in there.names(STATES):
        assert command.process.is_alive(), command.log.read_text()
        time.sleep(0.02)
    command.kill()
    assert command.wait(1) == -9
    shutil.rmtree(tmp_path / "run")
    again = Command(["train", "ppo", "--config", str(path)], tmp_path / "log", s3.environment)
    assert again.wait(60) == 0, again.log.read_text()
    assert "fetched state" in again.log.read_text()
    assert figures(tmp_path / "run") == figures(undisturbed.output.directory)
    last = tmp_path / "last"
    last.mkdir()
    there.fetch(STATES, "00000005", last)
    assert_equal_to_the_bit(
        *(
            torch.load(state / "tensors.pt", weights_only=True)
            for state in (last, undisturbed.output.directory / "states" / "00000005")
        )
    )


def test_half_copied_state_is_passed_over(tmp_path: Path, configure: Configure) -> None:
    url = f"memory:///{tmp_path.name}/half"
    run_ppo(configure(tmp_path, {"updates": 2, "output.url": url}))
    fsspec.filesystem("memory").rm_file(f"/{tmp_path.name}/half/states/00000002/progress.json")  # copied last
    shutil.rmtree(tmp_path / "run")
    run_ppo(configure(tmp_path, {"updates": 2, "output.url": url}))
    assert Mirror(url).names(STATES) == ["00000001", "00000002"]
    assert [row["update"] for row in figures(tmp_path / "run")] == [0, 1, 2]  # 1 was done again, 0 was not lost


def test_run_of_somebody_else_at_the_url_is_left_alone(tmp_path: Path, configure: Configure) -> None:
    url = f"memory:///{tmp_path.name}/theirs"
    config = configure(tmp_path, {"updates": 1, "output.url": url, "output.save_every": 0})
    run_ppo(config)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"output.url: {url} holds checkpoints of another run"):
        run_ppo(config)


def test_url_of_no_known_file_system_is_named(tmp_path: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"output.url = nothing://x: Protocol not known: nothing"):
        run_ppo(configure(tmp_path, {"output.url": "nothing://x"}))


def test_path_is_a_url_too(tmp_path: Path, configure: Configure) -> None:
    run_ppo(configure(tmp_path, {"updates": 1, "output.url": str(tmp_path / "volume")}))
    assert (tmp_path / "volume" / "states" / "00000001" / "progress.json").is_file()
    assert (tmp_path / "volume" / "samples.jsonl").read_text() == (tmp_path / "run" / "samples.jsonl").read_text()


class Unsteady(MemoryFileSystem):
    """A store that can go away."""

    protocol = "unsteady"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    away = False

    def pipe_file(self, path: str, value: bytes, **kwargs: Any) -> None:
        if type(self).away:
            raise OSError("the store is away")
        super().pipe_file(path, value, **kwargs)


fsspec.register_implementation("unsteady", Unsteady, clobber=True)


def test_store_that_is_away_for_a_while_misses_nothing_in_the_end(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig, caplog: pytest.LogCaptureFixture
) -> None:
    def away_at_update_2(questions: Any, answers: Any) -> dict[str, float]:
        Unsteady.away = not Unsteady.away  # evaluations are at 0, 2 and 4, and at the end
        return {}

    Unsteady.away = False
    url = f"unsteady:///{tmp_path.name}"
    config = configure(tmp_path, {"output.url": url})
    run_ppo(config, away_at_update_2)
    assert f"{url} cannot be written (the store is away)" in caplog.text
    assert Mirror(url).names(CHECKPOINTS) == list(digests(undisturbed.output.directory))
    assert Mirror(url).names(STATES) == ["00000004", "00000005"]


def test_store_that_is_away_at_the_end_is_told(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str], models: Any, judges: Any
) -> None:
    Unsteady.away = True
    url = f"unsteady:///{tmp_path.name}"
    given = settings(tmp_path, models, judges, {"updates": 1, "output.url": url, "evaluation.prompts": None})
    try:
        assert train(["ppo", "--config", str(write_config(tmp_path, given))]) == 1
    finally:
        Unsteady.away = False
    told = capsys.readouterr().err
    assert f"error: output.url = {url}: it cannot be written: the store is away; all is in {tmp_path}/run" in told
    state = tmp_path / "run" / "states" / "00000001"
    assert json.loads((state / "progress.json").read_text())["update"] == 1
