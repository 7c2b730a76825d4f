"""Attention of a decoding step: one query a head over the keys that its answer has so far (arXiv:2205.14135).

The kernel also norms, turns and keeps the new token's own key and value. Heads that share keys are rows of one product,
so that a key is read once; what lies beyond an answer's end is not read.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .rotary import HeadNorms, Heads

KEYS = 64
"""That a program multiplies at once."""
LEAST = 16
"""Rows and columns of a product on matrix units."""


def attend_one_query(
    rows: Tensor,  # [B, (H + 2 * G) * D]  queries, keys and values as a product gives them
    heads: Heads,
    angles: tuple[Tensor, Tensor] | None,  # cos and sin, float32[B, D / 2] each; None where a layer turns nothing
    norms: HeadNorms | None,
    keys: Tensor,  # [B, G, L, D]  gets the new keys
    values: Tensor,  # [B, G, L, D]  gets the new values
    last: Tensor,  # int64[B]  the new tokens' positions
    scaling: float,
) -> Tensor:  # [B, H * D]
    """softmax(scaling * q k^T) v; products in the type of the keys, everything else in float32."""
    result = rows.new_empty(len(rows), heads.queries * heads.width)
    together = heads.queries // heads.keys
    cos, sin = angles or (rows, rows)
    _attend[(len(rows), heads.keys)](
        rows, cos, sin, norms.query if norms else rows, norms.key if norms else rows, norms.eps if norms else 0.0,
        keys, values, last, result, scaling, keys.shape[-2],
        groups=heads.keys, together=together, width=heads.width,
        tall=max(LEAST, triton.next_power_of_2(together)), wide=max(LEAST, triton.next_power_of_2(heads.width)),
        block=KEYS, turns=angles is not None, has_norms=norms is not None, exact=rows.dtype == torch.float32,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return result


@triton.jit
def _prepared(  # type: ignore[no-untyped-def]
    x, inside, cos, sin, norm, eps, width: tl.constexpr, wide: tl.constexpr,
    turns: tl.constexpr, has_norms: tl.constexpr,
):  # fmt: skip
    """Heads as attention wants them, float32[N, wide]; `x` points to the first number of each, [N, 1], or of one."""
    half: tl.constexpr = width // 2
    at = tl.arange(0, wide)[None, :]
    other = tl.where(at < half, at + half, at - half)
    a = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + other, mask=inside, other=0.0).to(tl.float32)
    known = at < width
    if has_norms:
        scale = tl.rsqrt(tl.sum(a * a, 1) / width + eps)[:, None]
        a *= scale * tl.load(norm + at, mask=known, other=0.0).to(tl.float32)
        b *= scale * tl.load(norm + other, mask=known, other=0.0).to(tl.float32)
    if turns:
        angle = tl.where(at < half, at, at - half)
        c, s = tl.load(cos + angle, mask=known, other=0.0), tl.load(sin + angle, mask=known, other=0.0)
        a = a * c + tl.where(at < half, -b, b) * s
    return a


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    rows, cos, sin, query_norm, key_norm, eps, keys, values, last, result, scaling, length,
    groups: tl.constexpr, together: tl.constexpr, width: tl.constexpr,
    tall: tl.constexpr, wide: tl.constexpr, block: tl.constexpr,
    turns: tl.constexpr, has_norms: tl.constexpr, exact: tl.constexpr,
):  # fmt: skip
    """A program for each answer and each group of heads."""
    precision: tl.constexpr = "ieee" if exact else "tf32"
    answer, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    head, at = tl.arange(0, tall)[:, None], tl.arange(0, wide)[None, :]
    rows += answer * (together + 2) * groups * width
    cos += answer * (width // 2)
    sin += answer * (width // 2)
    own = (head < together) & (at < width)
    start = (answer * groups + group) * length * width
    end = tl.load(last + answer)

    here = at < width
    new = rows + (together * groups + group) * width
    new_k = _prepared(new, here, cos, sin, key_norm, eps, width, wide, turns, has_norms).to(keys.dtype.element_ty)
    new_v = tl.load(new + groups * width + at, mask=here, other=0.0)
    tl.store(keys + start + end * width + at, new_k, mask=here)
    tl.store(values + start + end * width + at, new_v, mask=here)

    query = rows + (group * together + head) * width
    q = _prepared(query, own, cos, sin, query_norm, eps, width, wide, turns, has_norms).to(keys.dtype.element_ty)
    largest = tl.sum(q.to(tl.float32) * new_k.to(tl.float32), 1) * scaling
    total = tl.full([tall], 1.0, tl.float32)
    mixed = tl.zeros([tall, wide], tl.float32) + new_v.to(tl.float32)
    for first in range(0, end, block):
        place = first + tl.arange(0, block)[:, None]
        from_here = start + place * width + at
        seen = (place < end) & (at < width)
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
