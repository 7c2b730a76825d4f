"""Advantages and returns."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor,  # [B, A]  zero on padding
    values: Tensor,  # [B, A]  of the state before each answer token
    answer_mask: Tensor,  # [B, A]  True on real answer tokens; answers are right-padded
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:  # advantages [B, A], returns [B, A]; both zero on padding
    """Generalized advantage estimation (arXiv:1506.02438) eq. 16; an answer's end is terminal.

    Not whitened: returns are advantages + values.
    """
    values = values.masked_fill(~answer_mask, 0.0)
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    next_value = torch.zeros_like(following)
    for t in reversed(range(values.shape[1])):
        real = answer_mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(real, delta + gamma * gae_lambda * following, 0.0)
        next_value = values[:, t]
        advantages[:, t] = following
    return advantages, (advantages + values).masked_fill(~answer_mask, 0.0)


def whiten(
    x: Tensor,  # [B, A]
    mask: Tensor,  # bool[B, A]
    *,
    shift_mean: bool = True,
) -> Tensor:  # [B, A]  zero outside the mask
    """Shifts and scales to mean 0 and variance 1 over the mask (biased variance, as in arXiv:2403.17031).

    Without `shift_mean` the mean stays what it was: rewards keep their sign.
    """
    n = mask.sum()
    mean = x.masked_fill(~mask, 0.0).sum() / n
    centred = (x - mean).masked_fill(~mask, 0.0)
    scaled = centred * torch.rsqrt(centred.square().sum() / n + 1e-8)
    return scaled if shift_mean else (scaled + mean).masked_fill(~mask, 0.0)
