"""The optimizer that all trainers use: AdamW, a learning rate schedule, one clip of the whole gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import nn
from torch.distributed.tensor import DTensor

from .config import Section


class TrainingDiverged(RuntimeError):
    """The gradient is not finite: no step was taken with it."""


class OptimizerConfig(Section):
    """AdamW (arXiv:1711.05101) and its learning rate."""

    learning_rate: PositiveFloat
    """The highest learning rate, reached after the warm-up."""
    betas: tuple[NonNegativeFloat, NonNegativeFloat] = (0.9, 0.95)
    """Decay of the first and second moment. InstructGPT (arXiv:2203.02155) appendix C."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of matrices; norms and biases do not decay."""
    max_grad_norm: PositiveFloat = 1.0
    """The L2 norm of the whole gradient is clipped to it."""
    warmup_updates: NonNegativeInt = 0
    """Updates over which the learning rate rises linearly to its highest."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after the warm-up."""
    final_ratio: NonNegativeFloat = 0.1
    """The last learning rate as a share of the highest (not for "constant")."""


def learning_rate(config: OptimizerConfig, update: int, total: int) -> float:
    """The learning rate of update number `update` out of `total`, counted from 0."""
    if update < config.warmup_updates:
        return config.learning_rate * (update + 1) / config.warmup_updates
    if config.schedule == "constant":
        return config.learning_rate
    progress = min((update - config.warmup_updates) / max(total - config.warmup_updates - 1, 1), 1.0)
    fallen = progress if config.schedule == "linear" else (1.0 - math.cos(math.pi * progress)) / 2.0
    return config.learning_rate * (1.0 - (1.0 - config.final_ratio) * fallen)


class Optimizer:
    """AdamW over all trainable parameters of some modules."""

    def __init__(self, modules: Iterable[nn.Module], config: OptimizerConfig, total_updates: int) -> None:
        self.config = config
        self.total_updates = total_updates
        unique = dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad)
        self.parameters = list(unique)  # tied weights once
        matrices = [p for p in self.parameters if p.ndim >= 2]
        vectors = [p for p in self.parameters if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            fused=True,  # one pass over the weights; small kernels cost a small model 20 times more
        )

    def step(self, update: int) -> float:
        """Clips the accumulated gradient, takes step number `update` (from 0) and clears it.

        Gives the gradient's L2 norm before the clip. Raises TrainingDiverged when it is not finite.
        """
        clipped = nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        norm = float(clipped.full_tensor() if isinstance(clipped, DTensor) else clipped)  # of all shards
        if not math.isfinite(norm):
            raise TrainingDiverged(
                f"the gradient of update {update} has norm {norm}: lower learning_rate, or look at its data"
            )
        for group in self.adamw.param_groups:
            group["lr"] = self.learning_rate(update)
        self.adamw.step()
        self.adamw.zero_grad()
        return norm

    def learning_rate(self, update: int) -> float:
        return learning_rate(self.config, update, self.total_updates)
