"""SwiGLU (arXiv:2002.05202) as one kernel between the feed-forward part's products."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from .rows import kernels_for, over_rows, rows_of, runs_fused

PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def fuse_swiglu(model: nn.Module) -> None:
    """Every feed-forward part down(silu(gate(x)) * up(x)) that has these parts and no other."""
    for module in model.modules():
        parts = dict(module.named_children())
        if parts.keys() == PARTS and isinstance(parts["act_fn"], (nn.SiLU, SiLUActivation)):
            kind: Any = type(module)
            module.__class__ = _fused(kind)


class FusedFeedForward:
    """What fused feed-forward parts of all families have in common."""


@cache
def _fused(feed_forward: type[Any]) -> type[Any]:
    class FusedSwiGLU(FusedFeedForward, feed_forward):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            gate, up = self.gate_proj(x), self.up_proj(x)
            hidden = swiglu(gate, up) if runs_fused(gate, up) else self.act_fn(gate) * up
            result: Tensor = self.down_proj(hidden)
            return result

    FusedSwiGLU.__name__ = FusedSwiGLU.__qualname__ = f"Fused{feed_forward.__name__}"
    return FusedSwiGLU


def swiglu(
    gate: Tensor,  # [..., D]  overwritten where no gradient is wanted
    up: Tensor,  # [..., D]
) -> Tensor:  # [..., D]
    """silu(gate) * up. Differentiable."""
    if torch.is_grad_enabled():
        result: Tensor = _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call]
        return result
    over_rows(kernels_for(gate).swiglu_in_place, rows_of(gate), rows_of(up))
    return gate


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return swiglu_apart(gate, up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return swiglu_backward(grad, *ctx.saved_tensors)


def swiglu_apart(gate: Tensor, up: Tensor) -> Tensor:
    """Without a graph, and without overwriting anything."""
    result = torch.empty_like(gate)
    over_rows(kernels_for(gate).swiglu, rows_of(gate), rows_of(up), rows_of(result))
    return result


def swiglu_backward(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up."""
    from .kernels import swiglu_backward as kernel

    grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
    over_rows(kernel, *(rows_of(x) for x in (gate, up, grad.contiguous(), grad_gate, grad_up)))
    return grad_gate, grad_up
