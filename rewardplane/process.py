"""What a process that computes with torch should be told before torch is imported."""

from __future__ import annotations

import ctypes
import os

# glibc's malloc.h; a C library without mallopt manages its memory in another way.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_process() -> None:
    """Sets what the environment leaves open about threads, and how memory is kept."""
    # Trainer and judges share cores. OpenMP threads that spin while they wait for one another then take the
    # cores from those that work: seven times slower was measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()


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
