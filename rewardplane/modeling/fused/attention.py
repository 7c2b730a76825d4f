"""Attention of a packed row's segments as one kernel, without filling them up and without a mask, on CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..forest import Segment, seen_by
from ..rounded import rounded_dtype
from .rows import HAVE_NUMBA, SHARE, VECTOR, array, in_parts, threads

MOST_KEYS = 1024
"""Of a segment, its own included; for more torch's attention is as quick."""


@dataclass(frozen=True)
class Runs:
    """Where S short segments and what they see lie in a packed row."""

    starts: NDArray[np.int64]  # [S]  first row of each
    firsts: NDArray[np.int64]  # [S + 1]  where its runs begin among all
    runs: NDArray[np.int64]  # [R, 2]  first row and number of rows: those of its ancestors, then its own
    most_keys: int
    """Of one segment."""
    alone: tuple[int, ...]  # numbers of the long segments
    alone_rows: Tensor  # int64[sum length]  of the long segments, one after the other

    def at_rows(self, rows: NDArray[np.int64]) -> Runs:
        """Of the short segments that these rows are in; of one that has a single one, that row alone. Rows ascend."""
        own = self.runs[self.firsts[1:] - 1]
        begins, ends = np.searchsorted(rows, own[:, 0]), np.searchsorted(rows, own.sum(1))
        paths: list[list[list[int]]] = []
        for segment in np.flatnonzero(ends > begins).tolist():
            *path, (start, length) = self.runs[self.firsts[segment] : self.firsts[segment + 1]].tolist()
            if ends[segment] - begins[segment] == 1:
                row = int(rows[begins[segment]])
                path += [[start, row - start]] if row > start else []
                start, length = row, 1
            paths.append([*path, [start, length]])
        return _runs(paths, self.most_keys)


def runs_of(segments: Sequence[Segment], count: int) -> Runs:
    """Of the first `count` segments."""
    short: list[int] = []
    alone: list[int] = []
    for number, segment in enumerate(segments[:count]):
        (short if segment.position + segment.length <= MOST_KEYS else alone).append(number)
    most_keys = max((segments[i].position + segments[i].length for i in short), default=0)
    return _runs(seen_by(segments, short), most_keys, alone, segments)


def _runs(
    paths: Sequence[Sequence[Sequence[int]]],
    most_keys: int,
    alone: Sequence[int] = (),
    segments: Sequence[Segment] = (),
) -> Runs:
    long = [np.arange(segments[i].start, segments[i].start + segments[i].length) for i in alone]
    return Runs(
        starts=np.array([path[-1][0] for path in paths], np.int64),
        firsts=np.cumsum([0, *map(len, paths)], dtype=np.int64),
        runs=np.array([run for path in paths for run in path], np.int64).reshape(-1, 2),
        most_keys=most_keys,
        alone=tuple(alone),
        alone_rows=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *long])),
    )


def runs_kernel(
    query: Tensor,  # [..., D]
    key: Tensor,  # [..., D]
    value: Tensor,  # [..., E]  in some families another width
) -> bool:
    """Whether there is a kernel for tensors like these."""
    width = query.shape[-1]
    return (
        HAVE_NUMBA
        and query.device.type == "cpu"
        and query.dtype == key.dtype == value.dtype == rounded_dtype(query) == torch.float32
        and value.shape[-1] == width
        and width % VECTOR == 0
    )


def attend_runs(
    query: Tensor,  # [T, H * D]
    key: Tensor,  # [T, G * D]  G divides H
    value: Tensor,  # [T, G * D]
    runs: Runs,
    width: int,  # D
    scaling: float | None,  # 1 / sqrt(D) where it is None
) -> Tensor:  # [T, H * D]  zero at the rows of other segments
    """softmax(scaling * q k^T) v of every segment over its ancestors and, causally, itself. Differentiable."""
    rows = query.contiguous(), key.contiguous(), value.contiguous()
    scale = width**-0.5 if scaling is None else scaling
    if not torch.is_grad_enabled():
        return _attend(*rows, runs, width, scale)[0]
    result: Tensor = _Attention.apply(*rows, runs, width, scale)  # type: ignore[no-untyped-call]
    return result


def _attend(
    query: Tensor, key: Tensor, value: Tensor, runs: Runs, width: int, scale: float
) -> tuple[Tensor, NDArray[np.float32]]:
    result = torch.zeros_like(query)
    log_z = np.empty(query.numel() // width, np.float32)
    attend_arrays(array(query), array(key), array(value), array(result), log_z, runs, width, scale)
    return result, log_z


def attend_arrays(
    query: Any,  # [T, H * D]
    key: Any,  # [T, G * D]
    value: Any,  # [T, G * D]
    result: Any,  # [T, H * D]
    log_z: Any,  # [T * H]
    runs: Runs,
    width: int,  # D
    scale: float,
) -> None:
    """Writes `result` and `log_z` at the rows of short segments."""
    from .attention_kernels import attend as kernel

    sizes = query.shape[1] // width, key.shape[1] // width, width, np.float32(scale)
    places = runs.starts, runs.firsts, runs.runs
    arrays = (x.reshape(-1) for x in (query, key, value))
    count = len(runs.starts) * sizes[1]
    _shared_out(kernel, count, query.size, *arrays, *sizes, *places, result.reshape(-1), log_z)


def _flat(x: Tensor) -> Any:
    return array(x).reshape(-1)


def _shared_out(kernel: Callable[..., None], count: int, numbers: int, *arguments: Any) -> None:
    """`count` groups of heads, of which none needs another's result, over threads."""
    parts = max(1, min(threads(), count, numbers // SHARE))
    in_parts(kernel, *arguments, bounds=[count * part // parts for part in range(parts + 1)])


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: Runs, width: int, scale: float) -> Tensor:
        result, ctx.log_z = _attend(query, key, value, runs, width, scale)
        ctx.save_for_backward(query, key, value, result)
        ctx.runs, ctx.width, ctx.scale = runs, width, scale
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from .attention_kernels import attend_backward as kernel

        query, key, value, result = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros_like(x) for x in (query, key, value))
        heads, groups = query.shape[1] // ctx.width, key.shape[1] // ctx.width
        _shared_out(
            kernel, groups, query.numel(), *map(_flat, (query, key, value)), heads, groups, ctx.width,
            np.float32(ctx.scale), ctx.runs.starts, ctx.runs.firsts, ctx.runs.runs, _flat(result), ctx.log_z,
            *map(_flat, (grad.contiguous(), of_query, of_key, of_value)),
        )  # fmt: skip
        return of_query, of_key, of_value, None, None, None
