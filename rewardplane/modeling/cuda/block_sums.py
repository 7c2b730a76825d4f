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
    *,
    first_block: int = 0,
    bias: Tensor | None = None,  # [C]
    softcap: float | None = None,
    chosen: tuple[Tensor, int, Tensor] | None = None,
) -> None:
    """`chosen`: token numbers int64[R], the number of the first column, and what gets their logits, float32[R]."""
    rows, columns = logits.shape
    ids, first, into = chosen or (largest, 0, largest)
    _sum_block[(rows, triton.cdiv(columns, BLOCK))](
        logits, largest, total, logits if bias is None else bias, ids, into,
        columns, largest.shape[1], first_block, first, 1.0 / temperature, softcap or 1.0,
        has_bias=bias is not None, has_cap=softcap is not None, chooses=chosen is not None,
        whole=columns % BLOCK == 0, block=BLOCK, num_warps=4,
    )  # fmt: skip


@triton.jit
def _logit(z, at, seen, bias, cap, has_bias: tl.constexpr, has_cap: tl.constexpr):  # type: ignore[no-untyped-def]
    """At temperature 1."""
    z = z.to(tl.float32)
    if has_bias:
        z += tl.load(bias + at, mask=seen, other=0.0).to(tl.float32)
    if has_cap:  # cap * tanh(z / cap)
        z = cap * (2.0 * tl.sigmoid(2.0 * z / cap) - 1.0)
    return z


@triton.jit
def _sum_block(  # type: ignore[no-untyped-def]
    logits, largest, total, bias, ids, chosen,
    columns, blocks, first_block, first_column, inverse_temperature, cap,
    has_bias: tl.constexpr, has_cap: tl.constexpr, chooses: tl.constexpr, whole: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """A program for each row and block."""
    row, number = tl.program_id(0).to(tl.int64), tl.program_id(1)
    logits += row * columns
    at = number * block + tl.arange(0, block)
    seen = at < columns
    # Masks cost as much as the exponentials.
    z = tl.load(logits + at) if whole else tl.load(logits + at, mask=seen, other=float("-inf"))
    z = _logit(z, at, seen, bias, cap, has_bias, has_cap)
    if has_cap:
        z = tl.where(seen, z, float("-inf"))
    m = tl.max(z, 0)
    into = row * blocks + first_block + number
    tl.store(largest + into, m * inverse_temperature)
    scale = inverse_temperature * LOG2_E
    tl.store(total + into, tl.where(m > float("-inf"), tl.sum(tl.exp2(z * scale - m * scale), 0), 0.0))
    if chooses:
        own = tl.load(ids + row) - first_column
        here = (own >= number * block) & (own < number * block + block) & (own < columns)
        z = tl.load(logits + own, mask=here, other=0.0)
        z = _logit(z, own, here, bias, cap, has_bias, has_cap)
        tl.store(chosen + row, z * inverse_temperature, mask=here)
