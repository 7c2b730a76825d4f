"""What metrics.jsonl says of an update's answers."""

from __future__ import annotations

import torch
from torch import Tensor

from .kl import kl_k1, kl_k3
from .rollout import Rollout, ScoredRollout
from .stats import explained_variance, masked_mean


def rollout_figures(
    scored: ScoredRollout,
    rewards: Tensor,  # [B, A]
    raw_scores: Tensor,  # [B]  as the reward judge gave them
) -> dict[str, float]:
    """KL figures are nats an answer: sums over an answer's tokens, averaged over answers."""
    rollout = scored.rollout
    mask = rollout.answer_mask
    answers = mask.shape[0]

    def per_answer(x: Tensor) -> float:
        return float(x.masked_fill(~mask, 0.0).sum()) / answers

    with torch.no_grad():
        return {
            "score": float(raw_scores.mean()),
            "score_std": float(raw_scores.std()),
            "normalised_score": float(scored.scores.mean()),
            "reward": per_answer(rewards),
            "kl_nats": per_answer(kl_k1(rollout.logprobs, scored.ref_logprobs)),
            "kl_k3_nats": per_answer(kl_k3(rollout.logprobs, scored.ref_logprobs)),
            "entropy": float(masked_mean(rollout.entropies, mask)),
            "answer_tokens": float(mask.sum()) / answers,
            "ended_ratio": float(rollout.ended.float().mean()),
            "episodes": float(answers),
            "tokens": float(sum(len(pair.question_ids) + len(pair.answer_ids) for pair in rollout.pairs)),
        }


def value_figures(
    rollout: Rollout,
    returns: Tensor,  # [B, A]
) -> dict[str, float]:
    """Of the value model, before the update."""
    mask = rollout.answer_mask
    return {
        "value": float(masked_mean(rollout.values, mask)),
        "explained_variance": float(explained_variance(rollout.values, returns, mask)),
    }
