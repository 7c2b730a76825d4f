"""The models that PPO changes, and what changes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from rewardplane.modeling.packing import PackedPairs

from ..optim import Optimizer
from ..precision import Precision, autocast
from ..processes import Processes
from ..sharding import T, Trained
from .value import ValueModel


@dataclass
class _Learner:
    trained: Trained
    optimizer: Optimizer
    precision: Precision

    def run(self, function: Callable[..., T], packed: PackedPairs, *arguments: Any) -> T:
        """`function(model, packed, *arguments)` in the precision of training; leaves it before a backward."""
        with autocast(self.precision, self.trained.device):
            result: T = self.trained(function, packed, *arguments)
            return result


@dataclass
class PolicyLearner(_Learner):
    temperature: float

    @property
    def model(self) -> Any:  # a transformers causal model
        return self.trained.model


@dataclass
class ValueLearner(_Learner):
    @property
    def model(self) -> ValueModel:
        return cast(ValueModel, self.trained.model)


@dataclass
class Learner:
    policy: PolicyLearner
    value: ValueLearner | None
    """None where advantages need no value model (RLOO)."""

    @property
    def processes(self) -> Processes:
        return self.policy.trained.processes
