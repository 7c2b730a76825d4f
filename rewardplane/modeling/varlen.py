"""Attention of a packed row on a GPU: all segments in one variable-length call, without a mask.

A segment's keys are its ancestors' rows and its own, gathered one after the other; its queries are the last of
them, so causal attention aligned to the end of the keys is what a packed row wants. The gather moves
Q + K * (Q + A) rows for K answers to a question, which is little beside the products of a layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from .forest import Segment
from .upload import upload

KNOWN = inspect.signature(varlen_attn).parameters
"""They differ between versions of torch: windows came after `is_causal`, and shared heads after windows."""
HALF = (torch.bfloat16, torch.float16)
MAX_HEAD_WIDTH = 256
"""Of flash attention's kernels."""


@dataclass(frozen=True)
class VarlenLayout:
    """Where the queries and keys of S segments lie."""

    key_rows: Tensor  # int64[M]  rows of the packed row, segment by segment, ancestors first
    cu_queries: Tensor  # int32[S + 1]  where each segment's queries begin
    cu_keys: Tensor  # int32[S + 1]  where its keys begin among key_rows
    max_queries: int
    max_keys: int


def varlen_layout(segments: Sequence[Segment], device: torch.device) -> VarlenLayout:
    """Made once for a row; all layers use it."""
    rows = [np.arange(s.start, s.start + s.length) for s in segments]
    keys = [np.concatenate([*(rows[a] for a in s.ancestors), rows[i]]) for i, s in enumerate(segments)]
    return VarlenLayout(
        key_rows=upload(torch.from_numpy(np.concatenate(keys)), device),
        cu_queries=upload(_starts(rows), device),
        cu_keys=upload(_starts(keys), device),
        max_queries=max(map(len, rows)),
        max_keys=max(map(len, keys)),
    )


def runs_varlen(device: torch.device, dtype: torch.dtype, head_width: int, window: int | None) -> bool:
    """Whether flash attention has a kernel for it; else segments attend one by one."""
    fits = dtype in HALF and head_width <= MAX_HEAD_WIDTH and (window is None or "window_size" in KNOWN)
    return device.type == "cuda" and fits


def _options(window: int | None) -> dict[str, Any]:
    """A query sees keys up to its own, and at most `window` of them; heads may share keys."""
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
    if "enable_gqa" not in KNOWN:
        key, value = copied_for_heads(query, key, value)
    queries, keys, values = (x[0].transpose(0, 1) for x in (query, key, value))
    attended = varlen_attn(
        queries.contiguous(),
        keys.index_select(0, layout.key_rows),
        values.index_select(0, layout.key_rows),
        layout.cu_queries,
        layout.cu_keys,
        layout.max_queries,
        layout.max_keys,
        scale=scaling,
        **_options(window),
    )
    return cast(Tensor, attended)[None]


def copied_for_heads(
    query: Tensor,  # [1, H, T, D]
    key: Tensor,  # [1, G, T, D]
    value: Tensor,  # [1, G, T, D]
) -> tuple[Tensor, Tensor]:  # [1, H, T, D] each
    """A key and a value for every head, where heads share them."""
    groups = query.shape[1] // key.shape[1]
    if groups == 1:
        return key, value
    return key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)


def _starts(parts: Sequence[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.cumsum([0, *(len(part) for part in parts)], dtype=np.int32))
