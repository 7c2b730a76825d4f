"""Gathers rows that do not lie in order, as a product's queries, keys and values do: torch reads them one by one."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


def gather(x: Tensor, rows: Tensor) -> Tensor:  # [T, G, D], int64[M] -> [M, G, D]
    _, groups, width = x.shape
    result = x.new_empty(len(rows), groups, width)
    _gather[(len(rows),)](
        x, rows, result, *x.stride()[:2], groups=groups, width=width,
        tall=triton.next_power_of_2(groups), wide=triton.next_power_of_2(width), num_warps=4,
    )  # fmt: skip
    return result


@triton.jit
def _gather(  # type: ignore[no-untyped-def]
    x, rows, result, row_stride, group_stride,
    groups: tl.constexpr, width: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    """A program for each row."""
    number = tl.program_id(0).to(tl.int64)
    group, at = tl.arange(0, tall)[:, None], tl.arange(0, wide)[None, :]
    inside = (group < groups) & (at < width)
    found = tl.load(x + tl.load(rows + number) * row_stride + group * group_stride + at, mask=inside)
    tl.store(result + (number * groups + group) * width + at, found, mask=inside)
