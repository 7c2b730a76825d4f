"""Figures about an update, each over real answer tokens only."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(
    x: Tensor,  # [B, A]
    mask: Tensor,  # bool[B, A]
) -> Tensor:  # scalar
    return x.masked_fill(~mask, 0.0).sum() / mask.sum()


def clip_ratio(
    logprobs: Tensor,  # [B, A]
    old_logprobs: Tensor,  # [B, A]
    mask: Tensor,  # bool[B, A]
    clip_range: float,
) -> Tensor:  # scalar
    """Share of tokens whose probability ratio lies outside 1 +- clip_range."""
    ratio = torch.exp((logprobs - old_logprobs).masked_fill(~mask, 0.0))
    return masked_mean(((ratio - 1.0).abs() > clip_range).float(), mask)


def explained_variance(
    values: Tensor,  # [B, A]
    returns: Tensor,  # [B, A]
    mask: Tensor,  # bool[B, A]
) -> Tensor:  # scalar
    """1 - Var(returns - values) / Var(returns): 1 is a perfect value model, 0 a constant one."""
    residual, target = (returns - values)[mask], returns[mask]
    return 1.0 - residual.var(unbiased=False) / target.var(unbiased=False)
