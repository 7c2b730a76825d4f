"""From scores and log-probs to one reward a token."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_penalized_rewards(
    scores: Tensor,  # [B]     score of each answer
    logprobs: Tensor,  # [B, A]  nats, under the policy that sampled the answer
    ref_logprobs: Tensor,  # [B, A]  nats, under the frozen SFT reference
    answer_mask: Tensor,  # [B, A]  True on real answer tokens; answers are right-padded
    kl_coef: float,
) -> Tensor:  # [B, A]  zero on padding
    """Gives -kl_coef * log-ratio at every token, plus the score at the last real one.

    InstructGPT (arXiv:2203.02155) eq. 2, first line. The last real token is the stop token when there is one.
    """  # fmt: skip
    log_ratio = (logprobs - ref_logprobs).masked_fill(~answer_mask, 0.0)
    last = answer_mask.sum(dim=1, keepdim=True) - 1
    return (-kl_coef * log_ratio).scatter_add(1, last, scores[:, None].to(log_ratio.dtype))


def replace_score_without_eos(
    scores: Tensor,  # [B]
    ended: Tensor,  # bool[B]  True where the answer ends with a stop token
    missing_eos_score: float | None,
) -> Tensor:  # [B]
    """The score of an answer that was cut off is `missing_eos_score`; None leaves scores as they are.

    N+ implementation details (arXiv:2403.17031), detail on the EOS trick: replaced, not subtracted from.
    """
    if missing_eos_score is None:
        return scores
    return torch.where(ended, scores, torch.full_like(scores, missing_eos_score))


def replace_score_of_short_answers(
    scores: Tensor,  # [B]
    answer_mask: Tensor,  # bool[B, A]
    min_answer_tokens: int,
    short_answer_score: float,
) -> Tensor:  # [B]
    """The score of an answer of fewer than `min_answer_tokens` tokens is `short_answer_score`."""
    short = answer_mask.sum(dim=1) < min_answer_tokens
    return torch.where(short, torch.full_like(scores, short_answer_score), scores)
