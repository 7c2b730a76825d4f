"""What an update does to the value model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .config import PpoConfig
from .learner import ValueLearner
from .losses import value_loss
from .microbatch import Minibatch, answer_tokens
from .rollout import TrainingBatch, pad_answers
from .value import packed_values


def value_steps(
    learner: ValueLearner,
    batch: TrainingBatch,
    steps: Sequence[Minibatch],
    config: PpoConfig,
    update: int,
    first: Tensor | None = None,  # [sum A]  values of the first minibatch, with their graph, where they are known
) -> list[dict[str, float]]:
    """Takes one optimizer step for each minibatch; gives the figures of each."""
    return [
        _step(learner, batch, minibatch, config, update, known)
        for minibatch, known in zip(steps, [first, *[None] * (len(steps) - 1)], strict=True)
    ]


def _step(
    learner: ValueLearner,
    batch: TrainingBatch,
    minibatch: Minibatch,
    config: PpoConfig,
    update: int,
    known: Tensor | None,
) -> dict[str, float]:
    parts = [batch.select(micro.rows) for micro in minibatch]
    processes = learner.trained.processes
    num_tokens = answer_tokens(minibatch, parts, processes)
    total = 0.0
    for micro, part in zip(minibatch, parts, strict=True):
        flat = learner.run(packed_values, micro.packed) if known is None else known
        values = pad_answers(flat, part.answer_mask)
        loss = micro.weight * value_loss(
            values, part.old_values, part.returns, part.answer_mask, config.clip_range_value, num_tokens
        )  # fmt: skip
        loss.backward()
        total += float(loss.detach())
    return {"value_loss": processes.sums([total])[0], "value_grad_norm": learner.optimizer.step(update)}
