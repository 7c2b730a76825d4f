"""From what the judges say to what the losses read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .collect import Verdict
from .config import PpoConfig, ScoreConfig
from .gae import gae, whiten
from .rewards import kl_penalized_rewards, replace_score_of_short_answers, replace_score_without_eos
from .rloo import leave_one_out
from .rollout import Rollout, ScoredRollout, TrainingBatch, pad_answers


@dataclass(frozen=True)
class ScoreScale:
    """Of the scores of the untrained policy's answers."""

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, scores: Tensor) -> ScoreScale:
        return cls(float(scores.mean()), max(float(scores.std()), 1e-6))


def score_rollout(rollout: Rollout, verdict: Verdict, scale: ScoreScale, config: ScoreConfig) -> ScoredRollout:
    """Scores as the run counts them: to scale, and replaced where an answer was cut off or is too short."""
    device = rollout.logprobs.device
    scores = config.sign * (verdict.scores.to(device) - scale.mean) / scale.spread
    missing = None if config.missing_eos_score == "keep" else config.missing_eos_score
    scores = replace_score_without_eos(scores, rollout.ended, missing)
    scores = replace_score_of_short_answers(
        scores, rollout.answer_mask, config.min_answer_tokens, config.short_answer_score
    )
    return ScoredRollout(rollout, scores, pad_answers(verdict.ref_logprobs.to(device), rollout.answer_mask))


def token_rewards(scored: ScoredRollout, kl_coef: float, config: PpoConfig) -> Tensor:  # [B, A]
    rollout = scored.rollout
    mask = rollout.answer_mask
    rewards = kl_penalized_rewards(scored.scores, rollout.logprobs, scored.ref_logprobs, mask, kl_coef)
    return whiten(rewards, mask, shift_mean=False) if config.whiten_rewards else rewards


def training_batch(
    rollout: Rollout,
    rewards: Tensor,  # [B, A]
    config: PpoConfig,
    answers_per_question: int,
) -> TrainingBatch:
    """Estimates advantages. Those of RLOO are not whitened: its answers are compared with each other already."""
    mask = rollout.answer_mask
    if config.advantage == "rloo":
        advantages, returns = leave_one_out(rewards, mask, answers_per_question), torch.zeros_like(rewards)
    else:
        advantages, returns = gae(rewards, rollout.values, mask, config.gamma, config.gae_lambda)
        advantages = whiten(advantages, mask)
    return TrainingBatch(rollout.pairs, mask, rollout.logprobs, rollout.values, advantages, returns)
