"""Queries, keys and values of a product's rows: normed by head where a family does so, turned, and kept in a cache.

One kernel for what transformers does in a dozen (rotary positions: RoFormer, arXiv:2104.09864).
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """How the rows of a product for queries, keys and values are divided."""

    queries: int
    keys: int
    width: int  # D, even

    @property
    def all(self) -> int:
        return self.queries + 2 * self.keys


@dataclass(frozen=True)
class HeadNorms:
    """RMSNorm of each query and each key by itself."""

    query: Tensor  # [D]
    key: Tensor  # [D]
    eps: float


@dataclass(frozen=True)
class Places:
    """Where the keys and values of R rows are kept."""

    slots: Tensor  # int64[R]  sequences
    positions: Tensor  # int64[R]


def turn(
    rows: Tensor,  # [R, (H + 2 * G) * D]  queries and keys are turned in place
    heads: Heads,
    angles: tuple[Tensor, Tensor] | None,  # cos and sin, float32[R, D / 2] each; None where a layer turns nothing
    norms: HeadNorms | None = None,
    kept: tuple[Tensor, Tensor] | None = None,  # [S, G, L, D] each: get keys and values
    places: Places | None = None,  # in `kept`
) -> None:
    if angles is None and norms is None and kept is None:
        return
    cos, sin = angles or (rows, rows)
    keys, values = kept or (rows, rows)
    slots, positions = (places.slots, places.positions) if places else (rows, rows)
    _turn[(len(rows),)](
        rows, cos, sin, norms.query if norms else rows, norms.key if norms else rows, norms.eps if norms else 0.0,
        keys, values, slots, positions, keys.shape[-2],
        queries=heads.queries, groups=heads.keys, half=heads.width // 2,
        all_heads=triton.next_power_of_2(heads.all), halves=triton.next_power_of_2(heads.width // 2),
        turns=angles is not None, has_norms=norms is not None, keeps=kept is not None, num_warps=4,
    )  # fmt: skip


@triton.jit
def _turn(  # type: ignore[no-untyped-def]
    rows, cos, sin, query_norm, key_norm, eps, kept_keys, kept_values, slots, positions, length,
    queries: tl.constexpr, groups: tl.constexpr, half: tl.constexpr,
    all_heads: tl.constexpr, halves: tl.constexpr,
    turns: tl.constexpr, has_norms: tl.constexpr, keeps: tl.constexpr,
):  # fmt: skip
    """A program for each row."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, all_heads)[:, None]
    at = tl.arange(0, halves)[None, :]
    of_query, turned = head < queries, head < queries + groups
    inside = (head < queries + 2 * groups) & (at < half)
    first = rows + row * (queries + 2 * groups) * 2 * half + head * 2 * half + at
    a = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(first + half, mask=inside, other=0.0).to(tl.float32)
    if has_norms:
        scale = tl.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / (2 * half) + eps)[:, None]
        for_query, for_key = of_query & (at < half), turned & (at < half)
        weight_a = tl.where(of_query, tl.load(query_norm + at, for_query, 0.0), tl.load(key_norm + at, for_key, 0.0))
        weight_b = tl.where(
            of_query, tl.load(query_norm + half + at, for_query, 0.0), tl.load(key_norm + half + at, for_key, 0.0)
        )
        a = tl.where(turned, a * scale * weight_a.to(tl.float32), a)
        b = tl.where(turned, b * scale * weight_b.to(tl.float32), b)
    if turns:
        c = tl.load(cos + row * half + at, mask=at < half, other=1.0)
        s = tl.load(sin + row * half + at, mask=at < half, other=0.0)
        a, b = tl.where(turned, a * c - b * s, a), tl.where(turned, b * c + a * s, b)
    if turns or has_norms:
        tl.store(first, a, mask=inside & turned)
        tl.store(first + half, b, mask=inside & turned)
    if keeps:
        slot, position = tl.load(slots + row), tl.load(positions + row)
        key, value = head - queries, head - queries - groups
        into = kept_keys + ((slot * groups + key) * length + position) * 2 * half + at
        is_key = inside & (key >= 0) & (value < 0)
        tl.store(into, a, mask=is_key)
        tl.store(into + half, b, mask=is_key)
        into = kept_values + ((slot * groups + value) * length + position) * 2 * half + at
        is_value = inside & (value >= 0)
        tl.store(into, a, mask=is_value)
        tl.store(into + half, b, mask=is_value)
