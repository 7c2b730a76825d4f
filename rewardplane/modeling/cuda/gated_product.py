"""SwiGLU (arXiv:2002.05202) where gate and up are multiplied: they are never in memory, nor rounded."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from .tiles import TALL, deep, place_of, programs

WIDE = 128


def gated_product(x: Tensor, weight: Tensor) -> Tensor:  # [T, K], [2 * D, K] -> [T, D]
    """silu(x @ gate) * (x @ up), the gate in the first half of the weight; K and D are multiples of 16 bytes."""
    half = len(weight) // 2
    across, at_once = triton.cdiv(half, WIDE), deep(x)
    result, count = x.new_empty(len(x), half), programs(x, across)
    _gated_product[(count,)](
        TensorDescriptor.from_tensor(x, [TALL, at_once]),
        TensorDescriptor.from_tensor(weight.unflatten(0, (2, half)), [2, WIDE, at_once]),
        TensorDescriptor.from_tensor(result, [TALL, WIDE]),
        len(x), half, x.shape[1],
        programs=count, tall=TALL, wide=WIDE, deep=at_once, num_warps=8, num_stages=3,
    )  # fmt: skip
    return result


@triton.jit
def _gated_product(  # type: ignore[no-untyped-def]
    x, weight, result, rows, half, width,
    programs: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr, deep: tl.constexpr,
):  # fmt: skip
    down, across = tl.cdiv(rows, tall), tl.cdiv(half, wide)
    for tile in range(tl.program_id(0), down * across, programs):
        line, column = place_of(tile, down, across)
        both = tl.zeros((tall, 2 * wide), dtype=tl.float32)
        for step in range(tl.cdiv(width, deep)):
            left = x.load([line * tall, step * deep])
            right = weight.load([0, column * wide, step * deep]).reshape(2 * wide, deep)
            both = tl.dot(left, right.T, both)
        gate, up = both.reshape(tall, 2, wide).permute(0, 2, 1).split()
        result.store([line * tall, column * wide], (gate * tl.sigmoid(gate) * up).to(result.dtype))
