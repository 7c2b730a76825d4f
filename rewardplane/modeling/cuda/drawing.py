"""Draws tokens by inverse CDF without writing probabilities: logits are read once, and a block of them once more."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .block_sums import BLOCK, sum_blocks


def draw(
    logits: Tensor,  # [B, V]
    temperature: float,  # > 0
    uniforms: Tensor,  # float32[B] in [0, 1)
) -> Tensor:  # int64[B]
    """The first token whose cumulative probability is above the number; one of probability 0 never is."""
    logits, uniforms = logits.contiguous(), uniforms.contiguous()
    rows, vocabulary = logits.shape
    blocks = triton.cdiv(vocabulary, BLOCK)
    largest, total = torch.empty(2, rows, blocks, dtype=torch.float32, device=logits.device)
    chosen = torch.empty(rows, dtype=torch.int64, device=logits.device)
    sum_blocks(logits, largest, total, temperature)
    _choose[(rows,)](
        logits, largest, total, uniforms, chosen, vocabulary, 1.0 / temperature, blocks,
        all_blocks=triton.next_power_of_2(blocks), block=BLOCK, num_warps=4,
    )  # fmt: skip
    return chosen


@triton.jit
def _first_above(weights, threshold, at, none):  # type: ignore[no-untyped-def]
    """The first place whose cumulative weight is above the threshold, and what lies before it; a weight of 0 is passed
    over. Sums of two blocks round differently: where no place is above, the last that has a weight."""
    sums = tl.cumsum(weights, 0)
    possible = weights > 0.0
    place = tl.min(tl.where(possible & (sums > threshold), at, none), 0)
    place = tl.where(place < none, place, tl.max(tl.where(possible, at, 0), 0))
    return place, tl.sum(tl.where(at < place, weights, 0.0), 0)


@triton.jit
def _choose(  # type: ignore[no-untyped-def]
    logits, largest, total, uniforms, chosen, vocabulary, inverse_temperature, blocks,
    all_blocks: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """A program for each row: the block first, then the token."""
    row = tl.program_id(0).to(tl.int64)
    number = tl.arange(0, all_blocks)
    m = tl.load(largest + row * blocks + number, mask=number < blocks, other=float("-inf"))
    s = tl.load(total + row * blocks + number, mask=number < blocks, other=0.0)
    most = tl.max(m, 0)
    weights = s * tl.exp(m - most)
    threshold = tl.load(uniforms + row) * tl.sum(weights, 0)
    found, before = _first_above(weights, threshold, number, all_blocks)
    at = tl.arange(0, block)
    token = found * block + at
    z = tl.load(logits + row * vocabulary + token, mask=token < vocabulary, other=float("-inf")).to(tl.float32)
    weights = tl.exp(z * inverse_temperature - most)
    place, _ = _first_above(weights, threshold - before, at, block)
    tl.store(chosen + row, (found * block + place).to(tl.int64))
