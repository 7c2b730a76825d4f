"""Leave-one-out advantages, and runs that have no value model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Configure
from ppo_runs import AHEAD, NOWHERE, Models, assert_same_run, digests, figures, read_config, settings
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.rloo import leave_one_out
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.ppo.train import run_ppo
from torch.testing import assert_close

RLOO = {"ppo.advantage": "rloo", "value.path": None, "value_optimizer.learning_rate": None}
RLOO |= {"value_optimizer.schedule": None}


def test_three_answers_by_hand() -> None:
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    rewards = torch.tensor([[0.5, 0.5], [4.0, 0.0], [3.0, 4.0]])  # sums 1, 4, 7
    # 1 - (4 + 7) / 2 = -4.5;  4 - (1 + 7) / 2 = 0;  7 - (1 + 4) / 2 = 4.5; the same at every token, 0 on padding
    assert_close(leave_one_out(rewards, mask, 3), torch.tensor([[-4.5, -4.5], [0.0, 0.0], [4.5, 4.5]]))


def test_questions_are_apart() -> None:
    mask = torch.ones(4, 1, dtype=torch.bool)
    rewards = torch.tensor([[1.0], [3.0], [100.0], [50.0]])
    assert leave_one_out(rewards, mask, 2).flatten().tolist() == [-2.0, 2.0, 50.0, -50.0]


def test_padding_changes_nothing() -> None:
    mask = torch.tensor([[True, False, False], [True, True, False]])
    wide = leave_one_out(torch.tensor([[2.0, 0.0, 0.0], [1.0, 3.0, 0.0]]), mask, 2)
    assert wide.tolist() == [[-2.0, 0.0, 0.0], [2.0, 2.0, 0.0]]


def test_equal_answers_have_no_advantage() -> None:
    assert not leave_one_out(torch.full((4, 3), 0.7), torch.ones(4, 3, dtype=torch.bool), 4).abs().max()


@pytest.fixture(scope="module")
def rloo_run(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rloo")
    run_ppo(configure(directory, {**RLOO, "updates": 3}))
    return directory / "run"


def test_run_has_no_value_model(rloo_run: Path) -> None:
    for row in figures(rloo_run):
        assert not {name for name in row if "value" in name or name == "explained_variance"}
        assert all(value is not None for value in row.values())
    assert [row["first_ratio_deviation"] for row in figures(rloo_run)[:3]] == [0.0] * 3
    tensors = torch.load(newest_state(rloo_run / "states") / "tensors.pt", weights_only=True)
    assert tensors.keys() == {"policy", "policy_optimizer"}


def test_run_goes_on_to_the_bit(rloo_run: Path, tmp_path: Path, configure: Configure) -> None:
    run_ppo(configure(tmp_path, {**RLOO, "updates": 1}))
    run_ppo(configure(tmp_path, {**RLOO, "updates": 3}))
    assert figures(tmp_path / "run")[:3] == figures(rloo_run)[:3]
    assert digests(tmp_path / "run")["policy-000003"] == digests(rloo_run)["policy-000003"]


def test_run_that_samples_ahead_goes_on_to_the_bit(tmp_path: Path, configure: Configure) -> None:
    for name, parts in (("whole", (3,)), ("parts", (2, 3))):
        (tmp_path / name).mkdir()
        for updates in parts:
            run_ppo(configure(tmp_path / name, {**RLOO, **AHEAD, "updates": updates}))
    assert_same_run(tmp_path / "parts" / "run", tmp_path / "whole" / "run")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({**RLOO, "sampling.answers_per_question": 1}, '"rloo" needs sampling.answers_per_question of 2 or more'),
        ({**RLOO, "value.path": "somewhere"}, '"rloo" has no value model: leave value and value_optimizer out'),
        ({"ppo.advantage": "rloo"}, '"rloo" has no value model: leave value and value_optimizer out'),
        ({**RLOO, "ppo.advantage": "gae"}, 'value_optimizer is missing: ppo.advantage = "gae" trains a value model'),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    tmp_path: Path, models: Models, overrides: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides))
    assert told in str(caught.value)
