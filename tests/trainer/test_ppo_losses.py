"""Policy, value and pretraining losses against TRL 1.12.0, PPO (arXiv:1707.06347) and arithmetic."""

import math
from typing import Any

import pytest
import torch
from rewardplane.trainer.ppo.losses import policy_loss, ptx_loss, value_loss
from rewardplane.trainer.ppo.rewards import kl_penalized_rewards
from torch import Tensor
from torch.testing import assert_close

ONE_TOKEN = torch.tensor([[True]])


def leaf(x: Any) -> Tensor:
    return torch.as_tensor(x).clone().requires_grad_()


def grad_of(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad


def test_policy_loss_and_gradient_equal_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    expected = golden["policy_loss"]
    logprobs, mask = leaf(golden_batch["new_logprobs"]), golden_batch["answer_mask"]
    advantages = torch.tensor(golden["whiten"]["whitened"])
    loss = policy_loss(logprobs, golden_batch["logprobs"], advantages, mask, expected["clip_range"], int(mask.sum()))
    loss.backward()
    assert loss.shape == ()
    assert_close(loss.item(), expected["loss"], rtol=1e-5, atol=1e-6)
    assert_close(grad_of(logprobs), torch.tensor(expected["grad"]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected_loss", "expected_grad"),
    [
        # PPO eq. 7 and figure 1: L = -min(ratio A, clip(ratio, 0.8, 1.2) A); dL/dlogprob = -ratio A or 0
        (1.5, 2.0, -2.4, 0.0),  # min(3, 2.4): nothing to gain by going further
        (0.5, 2.0, -1.0, -1.0),  # min(1, 1.6): a good token that lost probability gets it back
        (1.1, 2.0, -2.2, -2.2),  # inside the range
        (0.5, -2.0, 1.6, 0.0),  # min(-1, -1.6)
        (1.5, -2.0, 3.0, 3.0),  # min(-3, -2.4): a bad token that gained probability loses it
        (0.9, -2.0, 1.8, 1.8),  # inside the range
    ],
)
def test_clipped_objective_by_hand(ratio: float, advantage: float, expected_loss: float, expected_grad: float) -> None:
    logprobs = leaf([[-1.0 + math.log(ratio)]])
    loss = policy_loss(logprobs, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), ONE_TOKEN, 0.2, 1)
    loss.backward()
    assert_close(loss.item(), expected_loss, rtol=1e-5, atol=1e-6)
    assert_close(grad_of(logprobs).item(), expected_grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip_range", [0.2, 1e-3])
def test_at_ratio_one_the_policy_gradient_is_the_unclipped_one(
    golden: dict[str, Any], golden_batch: dict[str, Tensor], clip_range: float
) -> None:
    logprobs, mask = leaf(golden_batch["logprobs"]), golden_batch["answer_mask"]
    advantages = torch.tensor(golden["whiten"]["whitened"])
    loss = policy_loss(logprobs, golden_batch["logprobs"], advantages, mask, clip_range, 35)
    loss.backward()
    # L = -sum A ratio / 35, so dL/dlogprob = -A / 35 at ratio 1; the answers have 4+8+8+1+6+8 = 35 tokens.
    assert_close(grad_of(logprobs), -advantages / 35)
    assert_close(loss, -advantages.sum() / 35)


def test_policy_gradient_of_the_kl_reward_points_down_the_kl() -> None:
    # Two tokens, policy p = (1/2, 1/2), reference q = (1/5, 4/5), no score, kl_coef 1. One sample of each is
    # the exact expectation. d KL(p||q) / d logit_0 = p0 p1 (log(p0/q0) - log(p1/q1)) = 1/4 ln 4 = 0.346574
    logits = leaf([0.0, 0.0])
    logprobs = torch.log_softmax(logits, dim=0)[:, None]  # one answer of one token per row
    mask = torch.ones(2, 1, dtype=torch.bool)
    ref_logprobs = torch.tensor([[0.2], [0.8]]).log()
    advantages = kl_penalized_rewards(torch.zeros(2), logprobs.detach(), ref_logprobs, mask, 1.0)
    policy_loss(logprobs, logprobs.detach(), advantages, mask, 0.2, 2).backward()
    assert_close(grad_of(logits), torch.tensor([math.log(4) / 4, -math.log(4) / 4]))


def test_value_loss_and_gradient_equal_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    expected = golden["value_loss"]
    values, mask = leaf(golden_batch["new_values"]), golden_batch["answer_mask"]
    returns = torch.tensor(golden["gae"][0]["returns"])
    loss = value_loss(values, golden_batch["values"], returns, mask, expected["clip_range_value"], int(mask.sum()))
    loss.backward()
    assert loss.shape == ()
    assert_close(loss.item(), expected["loss"], rtol=1e-5, atol=1e-6)
    assert_close(grad_of(values), torch.tensor(expected["grad"]))


@pytest.mark.parametrize(
    ("value", "expected_loss", "expected_grad"),
    [
        # old value 0, return 1, clip 0.2: 1/2 max((V - 1)^2, (clip(V, -0.2, 0.2) - 1)^2)
        (0.1, 0.405, -0.9),  # inside: 1/2 * 0.81
        (0.5, 0.32, 0.0),  # 1/2 max(0.25, 0.64): far enough for this batch
        (1.5, 0.32, 0.0),  # 1/2 max(0.25, 0.64)
        (-0.5, 1.125, -1.5),  # 1/2 max(2.25, 1.44): went the wrong way, pulled back in full
    ],
)
def test_clipped_value_loss_by_hand(value: float, expected_loss: float, expected_grad: float) -> None:
    values = leaf([[value]])
    loss = value_loss(values, torch.tensor([[0.0]]), torch.tensor([[1.0]]), ONE_TOKEN, 0.2, 1)
    loss.backward()
    assert_close(loss.item(), expected_loss, rtol=1e-5, atol=1e-6)
    assert_close(grad_of(values).item(), expected_grad, rtol=1e-5, atol=1e-6)


def test_pretraining_loss_is_the_negative_log_likelihood_per_token() -> None:
    logprobs = leaf([-0.5, -1.5, -4.0])
    loss = ptx_loss(logprobs, 3)
    loss.backward()
    assert loss.shape == ()
    assert_close(loss.item(), 2.0)  # (0.5 + 1.5 + 4) / 3
    assert_close(grad_of(logprobs), torch.full((3,), -1 / 3))


def test_losses_are_divided_by_the_tokens_of_the_minibatch_and_not_by_their_own() -> None:
    # Two tokens here, eight in the minibatch.
    mask = torch.tensor([[True, True, False]])
    zeros, advantages = torch.zeros(1, 3), torch.tensor([[1.0, 3.0, 0.0]])
    assert_close(policy_loss(zeros, zeros, advantages, mask, 0.2, 8).item(), -0.5)  # -(1 + 3) / 8
    returns = torch.tensor([[1.0, 3.0, 0.0]])
    assert_close(value_loss(zeros, zeros, returns, mask, 0.2, 8).item(), 0.625)  # 1/2 (1 + 9) / 8
    assert_close(ptx_loss(torch.tensor([-1.0, -3.0]), 8).item(), 0.5)  # (1 + 3) / 8
