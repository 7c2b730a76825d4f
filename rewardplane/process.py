"""What a process that computes with torch should be told, most of it before torch is imported."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's malloc.h; a C library without mallopt manages its memory in another way.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_process() -> None:
    """Sets what the environment leaves open about threads, and how memory is kept."""
    # Trainer and judges share cores. OpenMP threads that spin while they wait for one another then take the
    # cores from those that work: seven times slower was measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of torch and transformers: collections meanwhile, which look at all that is there already, again
    and again, take a sixth of the time that a server needs to start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        keep_objects()


def keep_objects() -> None:
    """Has garbage collections pass over what is here to stay, once it is: half a million objects of libraries, which
    take half a second to look at. What no cycle holds is freed as ever."""
    gc.collect()
    gc.freeze()


def give_back_freed_memory() -> None:
    """Has glibc return what is free to the kernel, once: after a model is gone."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_freed_memory() -> None:
    """Has glibc keep what is freed: a training step frees its large tensors, and the next one takes them again.

    Given back to the kernel in between, they cost a page fault every 4 KiB: 12 to 17 % of a step's CPU time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
