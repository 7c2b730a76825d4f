"""The models that PPO changes, and what changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from rewardplane.modeling.packing import PackedPairs

from ..optim import Optimizer
from ..precision import Precision, autocast
from ..processes import Processes
from ..sharding import T, Trained
from ..whole_state import load_whole_state, whole_state
from .config import PpoConfig
from .microbatch import Minibatch
from .rollout import TrainingBatch

State = dict[str, Any]
"""Weights and optimizer states in host memory, by name."""


@dataclass
class ModelLearner:
    """A model that learns in this process."""

    trained: Trained
    optimizer: Optimizer
    precision: Precision

    def run(self, function: Callable[..., T], packed: PackedPairs, *arguments: Any) -> T:
        """`function(model, packed, *arguments)` in the precision of training; leaves it before a backward."""
        with autocast(self.precision, self.trained.device):
            result: T = self.trained(function, packed, *arguments)
            return result

    def _state(self, name: str) -> State:
        wanted = self.trained.processes.first
        return {
            name: whole_state(self.trained.model, wanted=wanted),
            f"{name}_optimizer": whole_state(self.optimizer.adamw, wanted=wanted),
        }

    def _load(self, name: str, state: State) -> None:
        load_whole_state(self.trained.model, state[name])
        load_whole_state(self.optimizer.adamw, state[f"{name}_optimizer"])


@dataclass
class PolicyLearner(ModelLearner):
    temperature: float

    @property
    def model(self) -> Any:  # a transformers causal model
        return self.trained.model

    def state(self) -> State:
        """A copy, which training does not change any more; of the first process. All must call it."""
        return self._state("policy")

    def load(self, state: State) -> None:
        self._load("policy", state)


class ValueWork(Protocol):
    """What PPO wants of a value model, wherever that runs."""

    def measure(
        self,
        mask: Tensor,  # bool[B, A]
        minibatches: Sequence[Minibatch],
        *,
        keep: bool,
    ) -> tuple[Tensor, Any]:  # float[B, A]
        """The value of the state before every answer token; zero on padding.

        With `keep` also what `steps` can begin with: the first forward pass, with its graph.
        """

    def steps(
        self, batch: TrainingBatch, minibatches: Sequence[Minibatch], config: PpoConfig, update: int, first: Any
    ) -> list[dict[str, float]]:
        """Takes one optimizer step for each minibatch; gives the figures of each."""

    def standardise(self, mean: float, spread: float) -> None:
        """Makes the model predict (value - mean) / spread instead of value."""

    def state(self) -> State:
        """A copy, which training does not change any more; of the first process. All must call it."""

    def load(self, state: State) -> None:
        """Goes on from there."""

    def close(self) -> None:
        """No call follows."""


@dataclass
class Learner:
    policy: PolicyLearner
    value: ValueWork | None
    """None where advantages need no value model (RLOO)."""

    @property
    def processes(self) -> Processes:
        return self.policy.trained.processes

    def close(self) -> None:
        if self.value is not None:
            self.value.close()
