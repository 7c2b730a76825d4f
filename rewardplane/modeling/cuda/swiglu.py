"""SwiGLU (arXiv:2002.05202) on what one product gave for gate and up."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


def swiglu(both: Tensor) -> Tensor:  # [T, 2 * D] -> [T, D]
    """silu(gate) * up, the gate in the first half of each row."""
    rows, width = len(both), both.shape[1] // 2
    result = both.new_empty(rows, width)
    _swiglu[(rows, triton.cdiv(width, BLOCK))](both, result, width, block=BLOCK, num_warps=4)
    return result


@triton.jit
def _swiglu(both, result, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program for each row and block of columns."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < width
    gate = tl.load(both + 2 * row * width + at, mask=inside).to(tl.float32)
    up = tl.load(both + (2 * row + 1) * width + at, mask=inside).to(tl.float32)
    tl.store(result + row * width + at, gate * tl.sigmoid(gate) * up, mask=inside)
