"""RMSNorm (arXiv:1910.07467) as one kernel, in place of transformers' six operations."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .rows import BLOCK, blocks, copied, kernels_for, over_rows, rows_of, runs_fused

Scales = NDArray[np.float32]


def fuse_norms(model: nn.Module) -> None:
    """Every RMSNorm that computes weight * x / rms(x), whatever its family calls it."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon") and _agrees(module):
            kind: Any = type(module)
            module.__class__ = _fused(kind)


@torch.no_grad()
def _agrees(norm: Any) -> bool:
    """Some families add 1 to the weight, or leave it out: their own word on a few numbers tells."""
    weight: Tensor = norm.weight
    x = torch.linspace(-1.0, 2.0, 2 * len(weight), dtype=weight.dtype, device=weight.device).view(2, -1)
    precise = x.double()
    expected = weight * precise * torch.rsqrt(precise.square().mean(-1, keepdim=True) + norm.variance_epsilon)
    return torch.allclose(norm(x).double(), expected, rtol=0.02, atol=0.02)


class FusedNorm:
    """What fused norms of all families have in common."""


@cache
def _fused(norm: type[Any]) -> type[Any]:
    class FusedRMSNorm(FusedNorm, norm):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor) -> Tensor:
            if hidden_states.is_cuda and hidden_states.dtype == self.weight.dtype:
                return F.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)
            if not runs_fused(hidden_states, self.weight):
                result: Tensor = super().forward(hidden_states)
                return result
            return rms_norm(hidden_states, self.weight, self.variance_epsilon)

    FusedRMSNorm.__name__ = FusedRMSNorm.__qualname__ = f"Fused{norm.__name__}"
    return FusedRMSNorm


def rms_norm(
    x: Tensor,  # [..., D]
    weight: Tensor,  # [D]
    eps: float,
) -> Tensor:  # [..., D]
    """weight * x / sqrt(mean(x^2) + eps), rounded once. Differentiable."""
    if not torch.is_grad_enabled():  # without what a node of a graph costs
        return normed(x, weight, eps)[0]
    result: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return result


def normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Scales]:
    """Without a graph; also gives 1 / rms of each row, which `norm_backward` wants."""
    result = torch.empty_like(x)
    rows = rows_of(x)
    scales = np.empty(len(rows), np.float32)
    over_rows(kernels_for(x).rms_norm, rows, copied(weight), np.float32(eps), rows_of(result), scales)
    return result, scales


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        result, ctx.scales = normed(x, weight, eps)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        return *norm_backward(grad, x, weight, ctx.scales), None


def norm_backward(grad: Tensor, x: Tensor, weight: Tensor, scales: Scales) -> tuple[Tensor, Tensor]:
    """The gradients of x and weight."""
    from .kernels import rms_norm_backward as kernel

    rows = rows_of(x)
    grad_x = torch.empty_like(x)
    sums = np.zeros((blocks(len(rows)), len(weight)))
    over_rows(kernel, rows, rows_of(grad.contiguous()), copied(weight), scales, rows_of(grad_x), sums, BLOCK)
    return grad_x, torch.from_numpy(sums.sum(0)).to(weight.dtype)
