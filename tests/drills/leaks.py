"""What a server's process holds, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def resident_mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / (1 << 20)


def open_files(pid: int) -> int:
    """File descriptors, sockets among them."""
    return psutil.Process(pid).num_fds()


def wait_for(true: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Whether it came true in time."""
    end_s = time.monotonic() + timeout_s
    while not (now := true()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return now
