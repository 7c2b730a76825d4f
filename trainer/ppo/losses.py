"""The three terms of the objective. Each is a sum over tokens, divided by a count that the caller gives.

The count is that of the whole minibatch, over all micro-batches and ranks: so the sum of the micro-batches'
losses is the minibatch's loss, however it was cut.
"""

from __future__ import annotations

import torch
from torch import Tensor


def policy_loss(
    logprobs: Tensor,  # [B, A]  nats, under the policy being updated
    old_logprobs: Tensor,  # [B, A]  nats, under the policy that sampled
    advantages: Tensor,  # [B, A]
    answer_mask: Tensor,  # bool[B, A]
    clip_range: float,
    num_tokens: float,  # real answer tokens of the whole minibatch
) -> Tensor:  # scalar
    """Clipped surrogate objective, negated. PPO (arXiv:1707.06347) eq. 7."""
    ratio = torch.exp((logprobs - old_logprobs).masked_fill(~answer_mask, 0.0))
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    losses = torch.maximum(-advantages * ratio, -advantages * clipped)
    return losses.masked_fill(~answer_mask, 0.0).sum() / num_tokens


def value_loss(
    values: Tensor,  # [B, A]
    old_values: Tensor,  # [B, A]  when the answers were sampled
    returns: Tensor,  # [B, A]
    answer_mask: Tensor,  # bool[B, A]
    clip_range_value: float,
    num_tokens: float,
) -> Tensor:  # scalar
    """Half the squared error, the larger of clipped and not (arXiv:2403.17031, as in OpenAI's baselines)."""
    clipped = values.clamp(old_values - clip_range_value, old_values + clip_range_value)
    losses = 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())
    return losses.masked_fill(~answer_mask, 0.0).sum() / num_tokens


def ptx_loss(
    logprobs: Tensor,  # [N]  nats, of pretraining tokens under the policy being updated
    num_tokens: float,
) -> Tensor:  # scalar
    """Negative log-likelihood of pretraining text, InstructGPT (arXiv:2203.02155) eq. 2, second line.

    The paper gives no normaliser; ours is the mean over tokens.
    """
    return -logprobs.sum() / num_tokens
