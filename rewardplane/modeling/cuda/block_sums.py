"""What a softmax needs to know of its logits, block by block: the largest, and the sum of exp(logit - largest)."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
"""Logits of a program."""
LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


def sum_blocks(
    logits: Tensor,  # [R, C]
    largest: Tensor,  # float32[R, B], of which a block is written for every BLOCK columns
    total: Tensor,  # float32[R, B]; 0 where no token of the block is possible
    temperature: float,  # > 0
) -> None:
    rows, columns = logits.shape
    _sum_block[(rows, triton.cdiv(columns, BLOCK))](
        logits, largest, total, columns, largest.shape[1], 1.0 / temperature,
        whole=columns % BLOCK == 0, block=BLOCK, num_warps=4,
    )  # fmt: skip


@triton.jit
def _sum_block(  # type: ignore[no-untyped-def]
    logits, largest, total, columns, blocks, inverse_temperature, whole: tl.constexpr, block: tl.constexpr
):
    """A program for each row and block."""
    row, number = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = number * block + tl.arange(0, block)
    logits += row * columns + at
    # Masks cost as much as the exponentials.
    z = tl.load(logits) if whole else tl.load(logits, mask=at < columns, other=float("-inf"))
    z = z.to(tl.float32)
    m = tl.max(z, 0)
    into = row * blocks + number
    tl.store(largest + into, m * inverse_temperature)
    scale = inverse_temperature * LOG2_E
    tl.store(total + into, tl.where(m > float("-inf"), tl.sum(tl.exp2(z * scale - m * scale), 0), 0.0))
