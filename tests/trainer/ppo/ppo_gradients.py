"""What a step of PPO learns from, and the gradient that it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rewardplane.trainer.batches import Turn
from rewardplane.trainer.ppo.config import PpoConfig
from rewardplane.trainer.ppo.learner import Learner
from rewardplane.trainer.ppo.measure import FirstForward
from rewardplane.trainer.ppo.microbatch import Rows, packed_minibatch
from rewardplane.trainer.ppo.rollout import TrainingBatch, answer_mask_of
from rewardplane.trainer.ppo.update import ppo_epochs
from torch import Tensor

from rewardplane.wire import TokenPair


def ragged_pairs(count: int) -> tuple[TokenPair, ...]:
    """Questions of 3 to 30 tokens, on both sides of the 16 from which they are packed apart; answers of 1 to 14."""
    rng = np.random.default_rng(7)

    def ids(low: int, high: int) -> np.ndarray:
        return rng.integers(3, 320, rng.integers(low, high + 1), dtype=np.int32)

    questions = [ids(3, 30) for _ in range(count // 2)]
    return tuple(TokenPair(questions[i // 2], ids(1, 14)) for i in range(count))  # two answers a question


def training_batch(pairs: Sequence[TokenPair]) -> TrainingBatch:
    """Random numbers, not zero on padding; old log-probs near ln(1/320) = -5.8, so that some ratios are clipped."""
    mask = answer_mask_of(pairs)
    generator = torch.Generator().manual_seed(8)

    def normal() -> Tensor:
        return torch.randn(mask.shape, generator=generator)

    return TrainingBatch(tuple(pairs), mask, -5.8 + 0.5 * normal(), normal(), normal(), normal())


@dataclass(frozen=True)
class Step:
    """Gradients by parameter name, and the step's figures."""

    policy: dict[str, Tensor]
    value: dict[str, Tensor]
    figures: dict[str, float]


def one_step(
    learner: Learner,
    batch: TrainingBatch,
    parts: Sequence[Rows],
    config: PpoConfig,
    texts: Sequence[TokenPair] | None = None,
) -> Step:
    """Lets the learner take one step, and keeps the gradients that AdamW was given for it."""
    caught: dict[str, dict[str, Tensor]] = {}

    def keep(name: str, module: torch.nn.Module) -> Any:
        def hook(*_: Any) -> None:
            assert name not in caught, "more than one step"
            caught[name] = {key: p.grad.clone() for key, p in module.named_parameters() if p.grad is not None}

        return hook

    hooks = [
        learner.policy.optimizer.adamw.register_step_pre_hook(keep("policy", learner.policy.model)),
        learner.value.optimizer.adamw.register_step_pre_hook(keep("value", learner.value.model)),
    ]
    rng = np.random.default_rng(0)
    minibatch = packed_minibatch(batch.pairs, [Turn(rows) for rows in parts], learner.policy.model.device)
    stats = ppo_epochs(learner, FirstForward(), batch, (minibatch,), iter([texts]) if texts else None, config, 0, rng)
    for hook in hooks:
        hook.remove()
    return Step(caught["policy"], caught["value"], stats.means())


def relative_error(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """|ours - expected| / |expected|, L2 over all parameters."""
    assert ours.keys() == expected.keys()
    flat_ours, flat_expected = (torch.cat([x[key].flatten() for key in expected]) for x in (ours, expected))
    return float((flat_ours - flat_expected).norm() / flat_expected.norm())
