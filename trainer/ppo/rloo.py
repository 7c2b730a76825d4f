"""Advantages without a value model."""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out(
    rewards: Tensor,  # [B, A]  zero on padding; the K answers to a question stand together
    answer_mask: Tensor,  # bool[B, A]
    answers_per_question: int,  # K >= 2
) -> Tensor:  # [B, A]  the same at every token of an answer, zero on padding
    """An answer's reward, summed over its tokens, minus the mean of its question's other answers.

    RLOO (arXiv:2402.14740): the whole answer is one action, and the others are its baseline.
    """
    totals = rewards.sum(dim=1).view(-1, answers_per_question)
    others = (totals.sum(dim=1, keepdim=True) - totals) / (answers_per_question - 1)
    advantages = (totals - others).view(-1, 1).expand(answer_mask.shape)
    return torch.where(answer_mask, advantages, 0.0)
