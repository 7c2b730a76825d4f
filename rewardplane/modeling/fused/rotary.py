"""Rotary position embeddings (RoFormer, arXiv:2104.09864) as one kernel for queries and one for keys.

transformers' attention classes call a function of their module, `apply_rotary_pos_emb`; that name is given to ours,
which calls theirs wherever the kernel does not apply.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..layers import layers_of
from .rows import kernels_for, over_rows, rows_of, runs_fused

FAMILIES = {"llama", "mistral", "qwen2", "qwen3", "smollm3"}
"""Model types whose function rotates halves of whole heads, and that do not look at what was there before."""

Rotation = Callable[..., tuple[Tensor, Tensor]]
NAME = "apply_rotary_pos_emb"


def fuse_rotary(model: Any) -> None:  # a transformers decoder
    """For all models of its family: the function is the family's."""
    layers = layers_of(model)
    if model.config.model_type not in FAMILIES or layers is None:
        return
    family = sys.modules[next(base for base in type(layers[0]).__mro__ if "transformers" in base.__module__).__module__]
    theirs = getattr(family, NAME)
    if not hasattr(theirs, "__wrapped__"):
        setattr(family, NAME, _fused(theirs))


def _fused(theirs: Rotation) -> Rotation:
    @wraps(theirs)
    def apply_rotary_pos_emb(
        q: Tensor,  # [B, H, T, D]
        k: Tensor,  # [B, G, T, D]
        cos: Tensor,  # [B, T, D]
        sin: Tensor,  # [B, T, D]
        *arguments: Any,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        query, key = q.transpose(1, 2), k.transpose(1, 2)
        if arguments or options or len(cos) != len(q) or not runs_fused(query, key, cos, sin):
            return theirs(q, k, cos, sin, *arguments, **options)
        return rotated(query, cos, sin).transpose(1, 2), rotated(key, cos, sin).transpose(1, 2)

    return apply_rotary_pos_emb


def rotated(
    x: Tensor,  # [B, T, H, D]  overwritten where no gradient is wanted
    cos: Tensor,  # [B, T, D]  its second half equals the first
    sin: Tensor,  # [B, T, D]
) -> Tensor:  # [B, T, H, D]
    """Each head turned by the angles of its token. Differentiable in x."""
    if torch.is_grad_enabled():
        result: Tensor = _Rotated.apply(x, cos, sin)  # type: ignore[no-untyped-call]
        return result
    turn(x, cos, sin)
    return x


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """In place, without a graph."""
    rows = x.flatten(2)
    over_rows(kernels_for(rows).rotate_in_place, rows_of(rows), rows_of(cos), rows_of(sin))


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return turned(x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(grad.contiguous(), cos, sin, -1.0), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    """Without a graph; -1.0 turns back."""
    rows, result = x.flatten(2), torch.empty_like(x)
    turn_by, angles = kernels_for(rows).rotate, (rows_of(cos), rows_of(sin))
    over_rows(turn_by, rows_of(rows), *angles, np.float32(sign), rows_of(result.flatten(2)))
    return result
