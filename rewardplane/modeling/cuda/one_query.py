"""Attention of a decoding step: one query a head over the keys that its answer has so far (arXiv:2205.14135).

Heads that share keys are rows of one product, so that a key is read once; what lies beyond an answer's end is not read.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .rotary import Heads

KEYS = 64
"""That a program multiplies at once."""
LEAST_ROWS = 16
"""Of a product on matrix units."""


def attend_one_query(
    rows: Tensor,  # [B, (H + 2 * G) * D]  the queries are its first H * D columns
    heads: Heads,
    keys: Tensor,  # [B, G, L, D]
    values: Tensor,  # [B, G, L, D]
    last: Tensor,  # int64[B]  positions of the last keys seen
    scaling: float,
) -> Tensor:  # [B, H * D]
    """softmax(scaling * q k^T) v; products in the type of the keys, everything else in float32."""
    result = rows.new_empty(len(rows), heads.queries * heads.width)
    together = heads.queries // heads.keys
    _attend[(len(rows), heads.keys)](
        rows, keys, values, last, result, scaling, keys.shape[-2], heads.all * heads.width,
        groups=heads.keys, together=together, width=heads.width,
        tall=max(LEAST_ROWS, triton.next_power_of_2(together)), wide=triton.next_power_of_2(heads.width),
        block=KEYS, exact=rows.dtype == torch.float32, num_warps=4, num_stages=3,
    )  # fmt: skip
    return result


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    rows, keys, values, last, result, scaling, length, row_width,
    groups: tl.constexpr, together: tl.constexpr, width: tl.constexpr,
    tall: tl.constexpr, wide: tl.constexpr, block: tl.constexpr, exact: tl.constexpr,
):  # fmt: skip
    """A program for each answer and each group of heads."""
    precision: tl.constexpr = "ieee" if exact else "tf32"
    answer, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    head, at = tl.arange(0, tall)[:, None], tl.arange(0, wide)[None, :]
    own = (head < together) & (at < width)
    q = tl.load(rows + answer * row_width + (group * together + head) * width + at, mask=own, other=0.0)
    end = tl.load(last + answer) + 1
    start = (answer * groups + group) * length * width
    largest = tl.full([tall], float("-inf"), tl.float32)
    total = tl.zeros([tall], tl.float32)
    mixed = tl.zeros([tall, wide], tl.float32)
    for first in range(0, end, block):
        place = first + tl.arange(0, block)[:, None]
        seen = (place < end) & (at < width)
        from_here = start + place * width + at
        k = tl.load(keys + from_here, mask=seen, other=0.0)
        z = tl.dot(q, tl.trans(k), input_precision=precision) * scaling
        z = tl.where((first + tl.arange(0, block))[None, :] < end, z, float("-inf"))
        higher = tl.maximum(largest, tl.max(z, 1))
        weight = tl.exp(z - higher[:, None])
        shrink = tl.exp(largest - higher)
        total = total * shrink + tl.sum(weight, 1)
        v = tl.load(values + from_here, mask=seen, other=0.0)
        mixed = mixed * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision=precision)
        largest = higher
    into = result + (answer * groups + group) * together * width + head * width + at
    tl.store(into, mixed / total[:, None], mask=own)
