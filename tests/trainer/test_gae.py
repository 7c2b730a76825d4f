"""Advantages, returns and whitening against TRL 1.12.0 and against arithmetic."""

import math
from typing import Any

import pytest
import torch
from rewardplane.trainer.ppo.gae import gae, whiten
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

NAN = float("nan")


@pytest.fixture
def rewards(golden: dict[str, Any]) -> Tensor:
    return torch.tensor(golden["rewards"]["rewards"])


@pytest.mark.parametrize("case", [0, 1, 2])
def test_advantages_and_returns_equal_trl(
    golden: dict[str, Any], golden_batch: dict[str, Tensor], rewards: Tensor, case: int
) -> None:
    expected = golden["gae"][case]
    advantages, returns = gae(
        rewards,
        golden_batch["values"],
        golden_batch["answer_mask"],
        expected["gamma"],
        expected["gae_lambda"],
    )
    assert_close(advantages, torch.tensor(expected["advantages"]))
    assert_close(returns, torch.tensor(expected["returns"]))


def test_three_tokens_by_hand() -> None:
    # delta = [0 + 0.4 - 0.5, 0 + 0.2 - 0.4, 1 + 0 - 0.2] = [-0.1, -0.2, 0.8]
    # A_2 = 0.8;  A_1 = -0.2 + 0.95 * 0.8 = 0.56;  A_0 = -0.1 + 0.95 * 0.56 = 0.432;  returns = A + V
    values = torch.tensor([[0.5, 0.4, 0.2]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = gae(torch.tensor([[0.0, 0.0, 1.0]]), values, mask, 1.0, 0.95)
    assert_close(advantages, torch.tensor([[0.432, 0.56, 0.8]]))
    assert_close(returns, torch.tensor([[0.932, 0.96, 1.0]]))


def test_discount_and_lambda_by_hand() -> None:
    # delta = [1 + 0.5 * 4 - 2, 3 + 0 - 4] = [1, -1];  A_0 = 1 + 0.5 * 0.25 * (-1) = 0.875
    mask = torch.ones(1, 2, dtype=torch.bool)
    advantages, returns = gae(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 4.0]]), mask, 0.5, 0.25)
    assert_close(advantages, torch.tensor([[0.875, -1.0]]))
    assert_close(returns, torch.tensor([[2.875, 3.0]]))


def test_lambda_one_returns_are_the_rewards_still_to_come() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0]])
    values = torch.tensor([[9.0, -7.0, 4.0]])
    _, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)
    assert_close(returns, torch.tensor([[6.0, 5.0, 3.0]]))


def test_nothing_follows_the_last_real_token() -> None:
    # One token: delta = r - V, whatever value stands on the pad behind it.
    mask = torch.tensor([[True, False]])
    advantages, returns = gae(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 100.0]]), mask, 1.0, 0.95)
    assert_close(advantages, torch.tensor([[1.5, 0.0]]))
    assert_close(returns, torch.tensor([[2.0, 0.0]]))


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("filler", [0.0, 7.0, NAN])
def test_padding_by_more_columns_changes_nothing(
    golden_batch: dict[str, Tensor], rewards: Tensor, columns: int, filler: float
) -> None:
    mask = golden_batch["answer_mask"]
    narrow = gae(rewards, golden_batch["values"], mask, 1.0, 0.95)
    wide = gae(
        pad(rewards, (0, columns), value=filler),
        pad(golden_batch["values"], (0, columns), value=filler),
        pad(mask, (0, columns), value=False),
        1.0,
        0.95,
    )
    for narrow_part, wide_part in zip(narrow, wide, strict=True):
        assert_close(wide_part[:, :8], narrow_part)
        assert torch.equal(wide_part[:, 8:], torch.zeros(6, columns))


def test_an_answer_alone_gets_what_it_gets_in_the_batch(golden_batch: dict[str, Tensor], rewards: Tensor) -> None:
    values, mask = golden_batch["values"], golden_batch["answer_mask"]
    together, _ = gae(rewards, values, mask, 1.0, 0.95)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        alone, _ = gae(*(x[row : row + 1, :length] for x in (rewards, values, mask)), 1.0, 0.95)
        assert_close(alone[0], together[row, :length])


def test_whitening_equals_trl_with_the_biased_variance(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    advantages = torch.tensor(golden["gae"][0]["advantages"])
    whitened = whiten(advantages, golden_batch["answer_mask"])
    assert_close(whitened, torch.tensor(golden["whiten"]["whitened"]))
    # TRL itself divides by n - 1 = 34 instead of n = 35.
    assert_close(whitened * math.sqrt(34 / 35), torch.tensor(golden["whiten"]["trl_unchanged"]))


def test_two_tokens_whiten_to_plus_and_minus_one() -> None:
    # mean 2, biased variance ((1 - 2)^2 + (3 - 2)^2) / 2 = 1; the unbiased one is 2 and would give 0.7071
    whitened = whiten(torch.tensor([[1.0, 3.0, 50.0]]), torch.tensor([[True, True, False]]))
    assert_close(whitened, torch.tensor([[-1.0, 1.0, 0.0]]))


def test_whole_batch_is_whitened_at_once() -> None:
    # Row by row these would be all zeros. mean 2, variance 1.
    whitened = whiten(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), torch.ones(2, 2, dtype=torch.bool))
    assert_close(whitened, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def test_epsilon_is_added_to_the_variance() -> None:
    # x = +-1e-4: variance 1e-8, so x * rsqrt(1e-8 + 1e-8) = +-1 / sqrt(2)
    whitened = whiten(torch.tensor([[1e-4, -1e-4]]), torch.ones(1, 2, dtype=torch.bool))
    assert_close(whitened, torch.tensor([[math.sqrt(0.5), -math.sqrt(0.5)]]))


@pytest.mark.parametrize("mask", [[[True, True]], [[True, False]]])
def test_equal_advantages_whiten_to_zero(mask: list[list[bool]]) -> None:
    assert whiten(torch.tensor([[0.25, 0.25]]), torch.tensor(mask)).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("filler", [0.0, 7.0, NAN])
def test_padding_takes_no_part_in_whitening(
    golden: dict[str, Any], golden_batch: dict[str, Tensor], filler: float
) -> None:
    mask = pad(golden_batch["answer_mask"], (0, 3), value=False)
    advantages = pad(torch.tensor(golden["gae"][0]["advantages"]), (0, 3)).masked_fill(~mask, filler)
    assert_close(whiten(advantages, mask), pad(torch.tensor(golden["whiten"]["whitened"]), (0, 3)))
