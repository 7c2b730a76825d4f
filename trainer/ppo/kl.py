"""How far the policy is from the reference, and the coefficient that holds it there."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log(pi / pi_ref) of sampled tokens, nats: unbiased, may be negative. Any shape."""
    return logprobs - ref_logprobs


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Half the squared log-ratio: biased, low variance. Any shape."""
    return 0.5 * (logprobs - ref_logprobs).square()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(-d) - 1 + d for d = log(pi / pi_ref): unbiased and never negative. Any shape."""
    d = logprobs - ref_logprobs
    return torch.expm1(-d) + d


class FixedKl:
    """A coefficient that stays."""

    def __init__(self, coef: float) -> None:
        self.coef = coef

    def update(self, kl_nats: float, episodes: int) -> None:
        """Does nothing."""


class AdaptiveKl:
    """Steers the KL of an answer to a target. Ziegler et al. (arXiv:1909.08593) section 2.2."""

    def __init__(self, init_coef: float, target_nats: float, horizon_episodes: int) -> None:
        self.coef = init_coef
        self.target_nats = target_nats
        self.horizon_episodes = horizon_episodes

    def update(self, kl_nats: float, episodes: int) -> None:
        """`kl_nats`: mean over answers of the log-ratio summed over the answer's tokens."""
        error = min(max(kl_nats / self.target_nats - 1.0, -0.2), 0.2)
        self.coef *= 1.0 + error * episodes / self.horizon_episodes
