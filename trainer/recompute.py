"""Gradient checkpointing: layers keep their input alone, and the backward computes the rest again."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rewardplane.modeling.layers import layers_of


def recompute_layers(model: nn.Module) -> None:
    """Makes every layer of the model do so from now on; results and gradients keep their bits.

    transformers' own switch works in train mode only, which would turn dropout on.
    """
    for layer in layers_of(model) or ():
        layer.forward = _Recomputed(layer.forward)


class _Recomputed:
    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*arguments, **named)
        # What the packed row tells its layers must be there again, in whatever thread the backward runs.
        again = partial(copy_context().run, self.forward)
        return checkpoint(again, *arguments, use_reentrant=False, preserve_rng_state=False, **named)
