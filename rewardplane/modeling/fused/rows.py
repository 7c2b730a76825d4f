"""Runs a kernel over the rows of its arrays, on as many threads as torch would use."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARE = 1 << 17
"""Numbers that are worth a thread of their own: 0.1 ms of work."""

BLOCK = 256
"""Threads get whole blocks of rows, so that sums over rows, taken block by block, do not depend on their number."""


CORES = os.cpu_count() or 1
VECTOR = 8
"""Numbers of a register that kernels are written for."""
HAVE_NUMBA = importlib.util.find_spec("numba") is not None
DTYPES = (torch.float32, torch.bfloat16)
PLAIN = (Tensor, torch.nn.Parameter)


def runs_fused(*tensors: Tensor) -> bool:
    """Whether kernels take these: plain tensors of one kind on the CPU, in order in memory."""
    dtype = tensors[0].dtype
    if not HAVE_NUMBA or dtype not in DTYPES:
        return False
    for x in tensors:
        # Shards and quantised weights have types of their own.
        if x.dtype != dtype or x.device.type != "cpu" or type(x) not in PLAIN or not x.is_contiguous():
            return False
    return True


def kernels_for(x: Tensor) -> Any:
    """The module with those of layers."""
    from . import exact_kernels, kernels

    return exact_kernels if x.dtype == torch.float32 and x.shape[-1] % VECTOR == 0 else kernels


def array(x: Tensor) -> Any:
    """The tensor's memory as kernels see it: float32, or the bits of bfloat16."""
    x = x.detach()
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """In torch's memory: numpy's begins amid a cache line, and registers of 16 numbers are read from two."""
    numbers: NDArray[np.float32] = torch.empty(shape, dtype=torch.float32).numpy()
    return numbers


def copied(weight: Tensor) -> Any:
    """As kernels see it. What numpy has seen of a weight itself may not be freed again, as sharded training does."""
    return array(weight.detach().clone(memory_format=torch.contiguous_format))


def borrowed(weight: Tensor) -> Any:
    """As kernels see it while they read it once, without a copy and without torch's knowing, for the same reason."""
    number: Any = ctypes.c_int32 if weight.dtype == torch.int32 else ctypes.c_float
    numbers = (number * weight.numel()).from_address(weight.data_ptr())
    return np.ctypeslib.as_array(numbers).reshape(weight.shape)


def rows_of(x: Tensor) -> Any:
    """[..., D] -> [N, D], as kernels see it."""
    return array(x).reshape(-1, x.shape[-1])


class _Here(threading.local):
    threads = 0


_here = _Here()


def threads() -> int:
    """How many may run a kernel of the calling thread: as many as torch would use, or what `on_threads` says."""
    return min(_here.threads or torch.get_num_threads(), CORES)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """For kernels alone. Torch's threads would wait for more work by spinning, on the cores that kernels want."""
    before, _here.threads = _here.threads, count
    try:
        yield
    finally:
        _here.threads = before


def blocks(rows: int, block: int = BLOCK) -> int:
    return -(-rows // block)


def over_rows(
    kernel: Callable[..., None], rows: Any, *arguments: Any, block: int = BLOCK, numbers: int | None = None
) -> None:
    """`kernel(rows, *arguments, first, end)` for all of `rows`, [N, D].

    `numbers` is how many it computes with, where they are not those of the rows alone.
    """
    most = threads()
    numbers = rows.size if numbers is None else numbers
    if most == 1 or numbers < 2 * SHARE:
        kernel(rows, *arguments, 0, len(rows))
        return
    in_parts(kernel, rows, *arguments, bounds=even_bounds(len(rows), min(most, numbers // SHARE), block))


def even_bounds(rows: int, parts: int, block: int) -> list[int]:
    """Of so many parts of `rows`, no more than there are blocks, each of whole blocks."""
    count = blocks(rows, block)
    parts = max(1, min(parts, count))
    return [min(count * part // parts * block, rows) for part in range(parts + 1)]


_starting = threading.Lock()


def together(kernel: Callable[..., None], *arguments: Any, parts: int) -> None:
    """`kernel(*arguments, part, parts)` on `parts` threads, at most `threads()`, that may wait for each other.

    They all begin before those of another call do: else two calls could have a half of the threads each.
    """
    with _starting:
        others = [_pool().submit(kernel, *arguments, part, parts) for part in range(1, parts)]
    kernel(*arguments, 0, parts)
    for other in others:
        other.result()


def in_parts(kernel: Callable[..., None], *arguments: Any, bounds: Sequence[int]) -> None:
    """`kernel(*arguments, first, end)` between all neighbours of `bounds`, a thread each."""
    others = [_pool().submit(kernel, *arguments, *bounds[n : n + 2]) for n in range(1, len(bounds) - 1)]
    kernel(*arguments, *bounds[:2])
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES, thread_name_prefix="rows")
