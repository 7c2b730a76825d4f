"""One PPO update: epochs of minibatches, each one optimizer step over all terms of the objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardplane.modeling.models import packed_logprobs
from rewardplane.modeling.packing import PackedPairs, pack
from rewardplane.wire import TokenPair

from ..optim import Optimizer
from .config import PpoConfig
from .kl import kl_k3
from .losses import policy_loss, ptx_loss, value_loss
from .microbatch import Minibatch
from .rollout import TrainingBatch, pad_answers
from .stats import clip_ratio, masked_mean
from .value import ValueModel


@dataclass
class Learner:
    """The two models that PPO changes, and what changes them."""

    policy: Any  # a transformers causal model
    value: ValueModel
    policy_optimizer: Optimizer
    value_optimizer: Optimizer
    temperature: float


class UpdateStats:
    """Figures of an update's optimizer steps, token-weighted within a step, averaged over steps."""

    def __init__(self) -> None:
        self._steps: list[dict[str, float]] = []
        self.first_ratio_deviation: float | None = None
        """The largest |ratio - 1| of the first minibatch: 0 when sampling and training agree."""

    def step(self) -> dict[str, float]:
        self._steps.append({})
        return self._steps[-1]

    def means(self) -> dict[str, float]:
        names = self._steps[0]
        return {name: float(np.mean([step[name] for step in self._steps])) for name in names}


def ppo_epochs(
    learner: Learner,
    batch: TrainingBatch,
    minibatches: Sequence[Minibatch],
    pretraining: Iterator[Sequence[TokenPair]] | None,
    config: PpoConfig,
    update: int,
    rng: np.random.Generator,
) -> UpdateStats:
    """Runs all epochs of update number `update`; from the second on, in random order."""
    stats = UpdateStats()
    for epoch in range(config.epochs):
        order = range(len(minibatches)) if epoch == 0 else rng.permutation(len(minibatches))
        for i in order:
            texts = next(pretraining) if pretraining is not None else ()
            _step(learner, batch, minibatches[int(i)], texts, config, update, stats)
    return stats


def _step(
    learner: Learner,
    batch: TrainingBatch,
    minibatch: Minibatch,
    texts: Sequence[TokenPair],
    config: PpoConfig,
    update: int,
    stats: UpdateStats,
) -> None:
    """Gradients of every term add up over the micro-batches; then one clip and one step for each model."""
    rows = [i for micro in minibatch for i in micro]
    num_tokens = float(batch.answer_mask[rows].sum())
    sums: dict[str, float] = dict.fromkeys(("policy_loss", "value_loss", "clip_ratio", "approx_kl", "ptx_loss"), 0.0)
    deviation = 0.0
    for micro in minibatch:
        part = batch.select(micro)
        figures, ratio_deviation = _backward(learner, part, config, num_tokens)
        deviation = max(deviation, ratio_deviation)
        for name, value in figures.items():
            sums[name] += value
    if texts:
        sums["ptx_loss"] = _backward_pretraining(learner, texts, config)
    sums["policy_grad_norm"] = learner.policy_optimizer.step(update)
    sums["value_grad_norm"] = learner.value_optimizer.step(update)
    if stats.first_ratio_deviation is None:
        stats.first_ratio_deviation = deviation
    stats.step().update(sums)


def _backward(
    learner: Learner, part: TrainingBatch, config: PpoConfig, num_tokens: float
) -> tuple[dict[str, float], float]:
    packed = pack(part.pairs).to(part.answer_mask.device)
    mask = part.answer_mask
    logprobs = pad_answers(packed_logprobs(learner.policy, packed, learner.temperature), mask)
    loss = policy_loss(logprobs, part.old_logprobs, part.advantages, mask, config.clip_range, num_tokens)
    loss.backward()
    value_part = _backward_value(learner, packed, part, config, num_tokens)
    with torch.no_grad():
        share = float(mask.sum()) / num_tokens
        log_ratio = (logprobs - part.old_logprobs).masked_fill(~mask, 0.0)
        figures = {
            "policy_loss": float(loss.detach()),
            "value_loss": value_part,
            "clip_ratio": share * float(clip_ratio(logprobs, part.old_logprobs, mask, config.clip_range)),
            # How far this step has moved: the KL of the sampling policy to the one being updated.
            "approx_kl": share * float(masked_mean(kl_k3(part.old_logprobs, logprobs), mask)),
        }
    return figures, float((log_ratio.exp() - 1.0).abs().max())


def _backward_value(
    learner: Learner, packed: PackedPairs, part: TrainingBatch, config: PpoConfig, num_tokens: float
) -> float:
    values = pad_answers(learner.value(packed), part.answer_mask)
    loss: Tensor = value_loss(
        values, part.old_values, part.returns, part.answer_mask, config.clip_range_value, num_tokens
    )
    loss.backward()
    return float(loss.detach())


def _backward_pretraining(learner: Learner, texts: Sequence[TokenPair], config: PpoConfig) -> float:
    """Gradients of the PTX term; gives the loss without its coefficient, nats a token."""
    num_tokens = float(sum(len(text.answer_ids) for text in texts))
    total = 0.0
    for part in _by_tokens(texts, config.micro_batch_tokens):
        packed = pack(part).to(learner.policy.device)
        # Pretraining text is no sample: temperature 1.
        loss = ptx_loss(packed_logprobs(learner.policy, packed), num_tokens)
        (config.ptx_coef * loss).backward()
        total += float(loss.detach())
    return total


def _by_tokens(texts: Sequence[TokenPair], max_tokens: int) -> Iterator[list[TokenPair]]:
    part: list[TokenPair] = []
    used = 0
    for text in texts:
        if part and used + len(text.answer_ids) + 1 > max_tokens:
            yield part
            part, used = [], 0
        part.append(text)
        used += len(text.answer_ids) + 1
    yield part
