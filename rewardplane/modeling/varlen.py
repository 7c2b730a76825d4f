"""Attention of a packed row on a GPU: all segments in one variable-length call, without a mask.

A segment's keys are its ancestors' rows and its own, one after the other; its queries are the last of them, so causal
attention aligned to the end of the keys is what a packed row wants. Where answers share a question its keys are copied
for each, Q + K * (Q + A) rows for K answers, which is little beside the products of a layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from .cuda.use import has_kernels
from .forest import Segment, seen_by
from .upload import upload

KNOWN = inspect.signature(varlen_attn).parameters
"""They differ between versions of torch: windows came after `is_causal`. Heads may share keys in all of them; later
ones want to be told so."""
HALF = (torch.bfloat16, torch.float16)
MAX_HEAD_WIDTH = 256
"""Of flash attention's kernels."""


@dataclass(frozen=True)
class VarlenLayout:
    """Where the queries and keys of S segments lie."""

    key_rows: Tensor | None
    """int64[M]  rows of the packed row, segment by segment, ancestors first; None: as they lie"""
    cu_queries: Tensor  # int32[S + 1]  where each segment's queries begin
    cu_keys: Tensor  # int32[S + 1]  where its keys begin
    max_queries: int
    max_keys: int


def varlen_layout(segments: Sequence[Segment], device: torch.device) -> VarlenLayout:
    """Made once for a row; all layers use it."""
    paths = seen_by(segments, range(len(segments)))
    queries, keys = [path[-1][1] for path in paths], [sum(length for _, length in path) for path in paths]
    rows = None
    if keys != queries:
        rows = np.concatenate([np.arange(first, first + length) for path in paths for first, length in path])
    return VarlenLayout(
        key_rows=None if rows is None else upload(torch.from_numpy(rows), device),
        cu_queries=upload(_starts(queries), device),
        cu_keys=upload(_starts(keys), device),
        max_queries=max(queries),
        max_keys=max(keys),
    )


def runs_varlen(device: torch.device, dtype: torch.dtype, head_width: int, window: int | None) -> bool:
    """Whether flash attention has a kernel for it; else segments attend one by one."""
    fits = dtype in HALF and head_width <= MAX_HEAD_WIDTH and (window is None or "window_size" in KNOWN)
    return device.type == "cuda" and fits


def _options(window: int | None) -> dict[str, Any]:
    """A query sees keys up to its own, and at most `window` of them."""
    shared = {"enable_gqa": True} if "enable_gqa" in KNOWN else {}
    if "window_size" in KNOWN:
        return shared | {"window_size": (-1 if window is None else window - 1, 0)}
    return shared | {"is_causal": True}


def attend_varlen(
    query: Tensor,  # [1, H, T, D]
    key: Tensor,  # [1, G, T, D]  G divides H
    value: Tensor,  # [1, G, T, D]
    layout: VarlenLayout,
    scaling: float | None,
    window: int | None,  # positions that a query sees, its own included
) -> Tensor:  # [1, T, H, D]
    """Attention of every segment to its ancestors and, causally, to itself. Differentiable."""
    queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
    if layout.key_rows is not None:
        keys, values = (_gathered(x, layout.key_rows) for x in (keys, values))
    attended = varlen_attn(
        queries,
        keys,
        values,
        layout.cu_queries,
        layout.cu_keys,
        layout.max_queries,
        layout.max_keys,
        scale=scaling,
        **_options(window),
    )
    return cast(Tensor, attended)[None]


def _gathered(x: Tensor, rows: Tensor) -> Tensor:  # [T, G, D], int64[M] -> [M, G, D]
    if has_kernels(x) and not torch.is_grad_enabled():
        from .cuda.gathering import gather

        return gather(x, rows)
    return x.index_select(0, rows)


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32))
