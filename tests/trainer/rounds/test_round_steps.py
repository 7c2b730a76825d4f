"""Steps in the wrong order, with other models or changed files are refused; steps that are done stay done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.rounds.command import main
from rewardplane.trainer.rounds.label import label_round
from rewardplane.trainer.rounds.place import Round, locked, open_round
from rewardplane.trainer.rounds.sample import sample_round
from rewardplane.trainer.rounds.servers import Serve, check_server, processes
from rewardplane.trainer.rounds.start import start_round
from rewardplane.trainer.rounds.train import train_policy, train_reward
from word_models import save_word_model, write_settings


@pytest.fixture
def started(sft: Path, tmp_path: Path) -> Round:
    return start_round(str(tmp_path / "round"), None, write_settings(tmp_path, sft), ())


def test_steps_come_in_order(started: Round, serve: Serve) -> None:
    with pytest.raises(ConfigError, match="no items: `rewardplane round sample` comes first"):
        label_round(started)
    with pytest.raises(ConfigError, match="no rankings: `rewardplane round label` comes first"):
        train_reward(started)
    with pytest.raises(ConfigError, match="no reward model: `rewardplane round train` comes first"):
        train_policy(started, serve)
    with pytest.raises(ConfigError, match="no policy yet: `rewardplane round train` comes first"):
        start_round(str(started.directory.parent / "next"), started.place, None, ())


def test_the_command_says_what_comes_first(started: Round, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", started.place]) == 1
    assert "`rewardplane round label` comes first" in capsys.readouterr().err
    assert main(["status", started.place]) == 0
    assert "next: rewardplane round sample" in capsys.readouterr().out
    assert main(["status", str(started.directory / "nothing")]) == 1
    assert "holds no round" in capsys.readouterr().err


def test_starting_again_changes_nothing_and_other_settings_are_refused(started: Round) -> None:
    settings = started.directory.parent / "round.toml"
    assert start_round(started.place, None, settings, ()).record == started.record
    with pytest.raises(ConfigError, match="begun with other settings"):
        start_round(started.place, None, settings, ("seed=4",))


def test_a_first_round_has_nothing_to_choose_by(sft: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path, sft, sample__choice='"margin"')
    with pytest.raises(ConfigError, match="a first round has no reward model to choose by"):
        start_round(str(tmp_path / "round"), None, settings, ())


def test_rankings_are_taken_in_when_all_are_there(labelled: Round, tmp_path: Path) -> None:
    shutil.copytree(labelled.directory, tmp_path / "round")
    (tmp_path / "round" / "labels.sqlite").unlink()
    made = open_round(str(tmp_path / "round")).with_step(labelled=None)
    with pytest.raises(ConfigError, match="0 of 20 rankings are there; `rewardplane label"):
        label_round(made)


def test_a_changed_parent_is_noticed(first_round: Round, tmp_path: Path) -> None:
    shutil.copytree(first_round.directory, tmp_path / "round1")
    start_round(str(tmp_path / "round2"), str(tmp_path / "round1"), None, ())
    record = tmp_path / "round1" / "round.json"
    record.write_text(record.read_text() + "\n")
    with pytest.raises(ConfigError, match="was changed since round 2 began"):
        open_round(str(tmp_path / "round2"))


def test_another_model_in_place_of_the_policy_is_noticed(started: Round, sft: Path, serve: Serve) -> None:
    other = save_word_model(started.directory.parent / "other", seed=1)
    settings = started.record.settings.model_copy(update={"sft": other})
    with pytest.raises(ConfigError, match="put the old one back"):
        sample_round(started.with_step(settings=settings), serve)


def test_a_server_with_other_weights_is_refused(started: Round, sft: Path, serve: Serve) -> None:
    other = save_word_model(started.directory.parent / "other", seed=1)
    with serve("policy", other) as target:
        with pytest.raises(ConfigError, match=r"is wanted: serve .*sft"):
            check_server(target, "policy", sft)
        with processes(started.directory, {"policy": target})("policy", other) as address:
            assert address == target  # the right one is asked as it is


def test_one_command_works_on_a_round_at_a_time(started: Round) -> None:
    refused = pytest.raises(ConfigError, match="another command works on this round")
    with locked(started.place), refused, locked(started.place):
        pass
