"""One PPO update: epochs of minibatches, each one optimizer step over all terms of the objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rewardplane.wire import TokenPair

from .config import PpoConfig
from .learner import Learner
from .measure import FirstForward
from .microbatch import Minibatch
from .policy_steps import RATIO_DEVIATION, policy_steps
from .rollout import TrainingBatch
from .side_by_side import side_by_side


class UpdateStats:
    """Figures of an update's optimizer steps, token-weighted within a step, averaged over steps."""

    def __init__(self, steps: Sequence[Mapping[str, float]]) -> None:
        self._steps = steps

    @property
    def first_ratio_deviation(self) -> float:
        """The largest |ratio - 1| of the first minibatch: 0 when sampling and training agree."""
        return self._steps[0][RATIO_DEVIATION]

    def means(self) -> dict[str, float]:
        names = [name for name in self._steps[0] if name != RATIO_DEVIATION]
        return {name: float(np.mean([step[name] for step in self._steps])) for name in names}


def ppo_epochs(
    learner: Learner,
    first: FirstForward,
    batch: TrainingBatch,
    minibatches: Sequence[Minibatch],
    pretraining: Iterator[Sequence[TokenPair]] | None,
    config: PpoConfig,
    update: int,
    rng: np.random.Generator,
) -> UpdateStats:
    """Runs all epochs of update number `update`; from the second on, in random order.

    Neither model's steps need the other's, so they may run at the same time.
    """
    orders = [range(len(minibatches)), *(rng.permutation(len(minibatches)) for _ in range(config.epochs - 1))]
    steps = [minibatches[int(i)] for order in orders for i in order]
    value = learner.value

    def of_policy() -> list[dict[str, float]]:
        return policy_steps(learner.policy, batch, steps, pretraining, config, update, first.logprobs)

    def of_value() -> list[dict[str, float]]:
        if value is None:
            return [{} for _ in steps]
        return value.steps(batch, steps, config, update, first.values)

    both = side_by_side(batch.answer_mask.device, of_policy, of_value, processes=learner.processes)
    return UpdateStats([policy_figures | value_figures for policy_figures, value_figures in zip(*both, strict=True)])
