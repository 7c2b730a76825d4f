"""What an update does to the value model."""

from __future__ import annotations

from collections.abc import Sequence

from .config import PpoConfig
from .learner import ValueLearner
from .losses import value_loss
from .microbatch import Minibatch
from .rollout import TrainingBatch, pad_answers


def value_steps(
    learner: ValueLearner, batch: TrainingBatch, steps: Sequence[Minibatch], config: PpoConfig, update: int
) -> list[dict[str, float]]:
    """Takes one optimizer step for each minibatch; gives the figures of each."""
    return [_step(learner, batch, minibatch, config, update) for minibatch in steps]


def _step(
    learner: ValueLearner, batch: TrainingBatch, minibatch: Minibatch, config: PpoConfig, update: int
) -> dict[str, float]:
    parts = [batch.select(micro.rows) for micro in minibatch]
    num_tokens = sum(float(part.answer_mask.sum()) for part in parts)
    total = 0.0
    for micro, part in zip(minibatch, parts, strict=True):
        values = pad_answers(learner.model(micro.packed), part.answer_mask)
        loss = value_loss(
            values, part.old_values, part.returns, part.answer_mask, config.clip_range_value, num_tokens
        )  # fmt: skip
        loss.backward()
        total += float(loss.detach())
    return {"value_loss": total, "value_grad_norm": learner.optimizer.step(update)}
