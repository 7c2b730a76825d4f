"""A product of few rows, its inputs divided among multiprocessors: undivided, it would leave most of them idle.

What each gives is added up by the kernel that adds the product to the states (split-K, without a pass of its own).
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

TALL, WIDE, DEEP = 128, 128, 64
"""Rows, outputs and inputs that a program multiplies at once."""
LEAST_ROWS = 16
"""Of a product on matrix units."""
LEAST_INPUTS = 4 * DEEP
"""Of a program: fewer are not worth writing down what they give."""


def shares(rows: int, weight: Tensor) -> int:  # [N, K]
    """Among how many the inputs are divided; 1: better not at all."""
    outputs, inputs = weight.shape
    if weight.dtype != torch.bfloat16 or inputs % DEEP:
        return 1
    tiles = triton.cdiv(rows, TALL) * triton.cdiv(outputs, WIDE)
    return max(1, min(_multiprocessors(weight.device) // tiles, inputs // LEAST_INPUTS))


def split_product(x: Tensor, weight: Tensor, count: int) -> Tensor:  # [R, K], [N, K] -> float32[count, R, N]
    """Parts whose sum is x @ weight^T."""
    rows, (outputs, inputs) = len(x), weight.shape
    tall = min(TALL, max(LEAST_ROWS, triton.next_power_of_2(rows)))
    parts = torch.empty(count, rows, outputs, dtype=torch.float32, device=x.device)
    share = triton.cdiv(inputs // DEEP, count) * DEEP
    _multiply[(triton.cdiv(outputs, WIDE), triton.cdiv(rows, tall), count)](
        x, weight, parts, rows, outputs, inputs, share, tall=tall, wide=WIDE, deep=DEEP, num_warps=8, num_stages=4
    )
    return parts


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
def _multiply(  # type: ignore[no-untyped-def]
    x, weight, parts, rows, outputs, inputs, share, tall: tl.constexpr, wide: tl.constexpr, deep: tl.constexpr
):
    """A program for each block of outputs and rows, and each share of the inputs."""
    output = tl.program_id(0) * wide + tl.arange(0, wide)
    row = tl.program_id(1) * tall + tl.arange(0, tall)
    part = tl.program_id(2)
    k = tl.arange(0, deep)
    left = x + row[:, None] * inputs + k[None, :]
    right = weight + output[None, :] * inputs + k[:, None]
    total = tl.zeros([tall, wide], tl.float32)
    for first in range(part * share, min(part * share + share, inputs), deep):
        a = tl.load(left + first, mask=(row < rows)[:, None], other=0.0)
        b = tl.load(right + first, mask=(output < outputs)[None, :], other=0.0)
        total = tl.dot(a, b, total)
    into = parts + (part.to(tl.int64) * rows + row[:, None]) * outputs + output[None, :]
    tl.store(into, total, mask=(row < rows)[:, None] & (output < outputs)[None, :])
