"""The models that PPO changes, and what changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..optim import Optimizer
from .value import ValueModel


@dataclass
class PolicyLearner:
    model: Any  # a transformers causal model
    optimizer: Optimizer
    temperature: float


@dataclass
class ValueLearner:
    model: ValueModel
    optimizer: Optimizer


@dataclass
class Learner:
    policy: PolicyLearner
    value: ValueLearner | None
    """None where advantages need no value model (RLOO)."""
