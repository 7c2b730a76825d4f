"""KL estimators (joschu.net/blog/kl-approx.html) and Ziegler's controller (arXiv:1909.08593 section 2.2)."""

import math
from typing import Any

import pytest
import torch
from rewardplane.trainer.ppo.kl import AdaptiveKl, FixedKl, kl_k1, kl_k2, kl_k3
from torch import Tensor
from torch.testing import assert_close


def test_estimators_equal_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    mask, pair = golden_batch["answer_mask"], (golden_batch["logprobs"], golden_batch["ref_logprobs"])
    assert_close(kl_k1(*pair).masked_fill(~mask, 0), torch.tensor(golden["kl"]["k1"]))
    assert_close(kl_k3(*pair).masked_fill(~mask, 0), torch.tensor(golden["kl"]["k3"]))


def test_estimators_by_hand() -> None:
    logprobs, ref_logprobs = torch.tensor([-1.0, -1.5]), torch.tensor([-1.5, -1.0])  # log-ratio 0.5, -0.5
    assert_close(kl_k1(logprobs, ref_logprobs), torch.tensor([0.5, -0.5]))
    assert_close(kl_k2(logprobs, ref_logprobs), torch.tensor([0.125, 0.125]))  # 0.5^2 / 2
    # e^-0.5 - 1 + 0.5 = 0.106531;  e^0.5 - 1 - 0.5 = 0.148721
    assert_close(kl_k3(logprobs, ref_logprobs), torch.tensor([0.106531, 0.148721]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_expectation_under_the_policy_is_the_kl(estimator: Any) -> None:
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)  # KL(p||q) = 0.143841, and KL(q||p) = 0.130812
    assert_close((p * estimator(p.log(), q.log())).sum().item(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k2, kl_k3])
def test_policy_equal_to_reference_has_a_kl_of_exactly_zero(golden_batch: dict[str, Tensor], estimator: Any) -> None:
    logprobs = golden_batch["logprobs"]
    assert torch.equal(estimator(logprobs, logprobs), torch.zeros_like(logprobs))


def test_k3_is_never_negative() -> None:
    log_ratio = torch.linspace(-3, 3, 601)
    assert (kl_k3(log_ratio - 5, torch.full_like(log_ratio, -5.0)) >= 0).all()


@pytest.mark.parametrize("log_ratio", [2.0**-12, -(2.0**-12)])
def test_k3_keeps_its_digits_near_zero(log_ratio: float) -> None:
    # e^-d - 1 + d = d^2 / 2 - d^3 / 6 ...: here 2^-25 to within 0.01 %. float32 has steps of 2^-24 just below 1
    # and 2^-23 above it, so that the formula as it is written has no correct digit: take expm1.
    k3 = kl_k3(torch.tensor([-2.0 + log_ratio]), torch.tensor([-2.0]))
    assert_close(k3, torch.tensor([2.0**-25]), rtol=1e-2, atol=0.0)


def test_fixed_coefficient_stays() -> None:
    kl = FixedKl(0.05)
    kl.update(100.0, 512)
    assert kl.coef == 0.05


@pytest.mark.parametrize(
    ("kl_nats", "expected"),
    [
        # coef * (1 + clip(kl / 6 - 1, -0.2, 0.2) * 512 / 10000), coef 0.15
        (6.0, 0.15),
        (6.6, 0.150768),  # error 0.1: 0.15 * 1.00512
        (5.7, 0.149616),  # error -0.05: 0.15 * 0.99744
        (60.0, 0.151536),  # error 9, clipped to 0.2: 0.15 * 1.01024
        (0.0, 0.148464),  # error -1, clipped to -0.2: 0.15 * 0.98976
        (-2.0, 0.148464),  # a sampled KL can be negative
    ],
)
def test_adaptive_coefficient_by_hand(kl_nats: float, expected: float) -> None:
    kl = AdaptiveKl(init_coef=0.15, target_nats=6.0, horizon_episodes=10000)
    assert kl.coef == 0.15
    kl.update(kl_nats, 512)
    assert kl.coef == pytest.approx(expected, rel=1e-9)


def test_adaptive_coefficient_compounds_and_scales_with_the_episodes() -> None:
    kl = AdaptiveKl(init_coef=0.2, target_nats=6.0, horizon_episodes=1000)
    kl.update(12.0, 100)  # 1 + 0.2 * 100 / 1000 = 1.02
    kl.update(12.0, 500)  # 1 + 0.2 * 500 / 1000 = 1.1
    kl.update(0.0, 500)  # 1 - 0.2 * 500 / 1000 = 0.9
    assert kl.coef == pytest.approx(0.2 * 1.02 * 1.1 * 0.9, rel=1e-9)


def test_target_is_met_by_the_sum_over_tokens_and_not_by_their_mean() -> None:
    # 24 tokens of 0.25 nats are 6 nats an answer. The mean per token, 0.25, would look far too low (trlx#361,
    # OpenRLHF#1289) and the coefficient would fall by 0.2 * 512 / 10000 = 1 % every update.
    log_ratios = kl_k1(torch.full((4, 24), -1.0), torch.full((4, 24), -1.25))
    kl = AdaptiveKl(init_coef=0.15, target_nats=6.0, horizon_episodes=10000)
    kl.update(log_ratios.sum(dim=1).mean().item(), 512)
    assert kl.coef == pytest.approx(0.15, rel=1e-9)
    kl.update(log_ratios.mean().item(), 512)
    assert kl.coef == pytest.approx(0.15 * 0.98976, rel=1e-9)
