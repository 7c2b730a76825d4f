"""What processes hold: a server's, seen from outside, and the callers' own."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import psutil


def resident_mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / (1 << 20)


def resident_in_use_mib() -> float:
    """Of this process, once malloc has given back the pages that hold nothing."""
    ctypes.CDLL(None).malloc_trim(0)
    return resident_mib(os.getpid())


def growth_bytes(mib: Sequence[float], requests: Sequence[int]) -> float:
    """Bytes a request that stay, by the line of least squares through readings."""
    slope = np.polyfit(requests, mib, 1)[0] if len(set(requests)) > 1 else 0.0
    return float(slope * (1 << 20))


def open_files(pid: int) -> int:
    """File descriptors, sockets among them."""
    return psutil.Process(pid).num_fds()


def wait_for(true: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Whether it came true in time."""
    end_s = time.monotonic() + timeout_s
    while not (now := true()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return now
