"""RMSNorm (arXiv:1910.07467) of states to which a layer's result is added first: one pass over memory, not two."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, empty_like

WARPS = 8


def add_and_norm(
    x: Tensor,  # [T, d]  gets the sum
    more: Tensor | None,  # [S, T, d], added to it
    weight: Tensor,  # [d]
    eps: float,
    dtype: torch.dtype,
) -> Tensor:  # [T, d]
    """weight * x / sqrt(mean(x^2) + eps) of the sum, in float32 and rounded once."""
    normed = empty_like(x, dtype=dtype)
    parts = 0 if more is None else len(more)
    _add_and_norm[(len(x),)](
        x, x if more is None else more, weight, normed, x.shape[1], x.numel(), eps,
        parts=parts, block=triton.next_power_of_2(x.shape[1]), num_warps=WARPS,
    )  # fmt: skip
    return normed


@triton.jit
def _add_and_norm(  # type: ignore[no-untyped-def]
    x, more, weight, normed, width, size, eps, parts: tl.constexpr, block: tl.constexpr
):
    """A program for each row."""
    at = tl.arange(0, block)
    inside = at < width
    start = tl.program_id(0).to(tl.int64) * width
    state = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    for part in tl.static_range(parts):
        state += tl.load(more + part * size + start + at, mask=inside, other=0.0).to(tl.float32)
    if parts:
        tl.store(x + start + at, state, mask=inside)
    scale = tl.rsqrt(tl.sum(state * state, 0) / width + eps)
    tl.store(normed + start + at, state * scale * tl.load(weight + at, mask=inside).to(tl.float32), mask=inside)
