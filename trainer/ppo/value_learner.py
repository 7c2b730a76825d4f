"""What an update does to the value model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from .config import PpoConfig
from .learner import ModelLearner, State
from .losses import value_loss
from .microbatch import Minibatch, answer_tokens
from .over_answers import over_answers
from .rollout import TrainingBatch, pad_answers
from .value import ValueModel, packed_values


@dataclass
class ValueLearner(ModelLearner):
    """The value model in this process. See ValueWork."""

    @property
    def model(self) -> ValueModel:
        return cast(ValueModel, self.trained.model)

    def measure(self, mask: Tensor, minibatches: Sequence[Minibatch], *, keep: bool) -> tuple[Tensor, Tensor | None]:
        (values,), first = over_answers(
            mask, minibatches, lambda packed: (self.run(packed_values, packed),), self.trained.processes, keep=keep
        )
        return values, first

    def steps(
        self,
        batch: TrainingBatch,
        minibatches: Sequence[Minibatch],
        config: PpoConfig,
        update: int,
        first: Tensor | None,
    ) -> list[dict[str, float]]:
        return [
            self._step(batch, minibatch, config, update, known)
            for minibatch, known in zip(minibatches, [first, *[None] * (len(minibatches) - 1)], strict=True)
        ]

    def _step(
        self, batch: TrainingBatch, minibatch: Minibatch, config: PpoConfig, update: int, known: Tensor | None
    ) -> dict[str, float]:
        parts = [batch.select(micro.rows) for micro in minibatch]
        processes = self.trained.processes
        num_tokens = answer_tokens(minibatch, parts, processes)
        total = 0.0
        for micro, part in zip(minibatch, parts, strict=True):
            flat = self.run(packed_values, micro.packed) if known is None else known
            values = pad_answers(flat, part.answer_mask)
            loss = micro.weight * value_loss(
                values, part.old_values, part.returns, part.answer_mask, config.clip_range_value, num_tokens
            )  # fmt: skip
            loss.backward()
            total += float(loss.detach())
        return {"value_loss": processes.sums([total])[0], "value_grad_norm": self.optimizer.step(update)}

    def standardise(self, mean: float, spread: float) -> None:
        self.model.standardise(mean, spread)

    def state(self) -> State:
        return self._state("value")

    def load(self, state: State) -> None:
        self._load("value", state)

    def close(self) -> None:
        pass
