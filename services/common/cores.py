"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""A container's CPU limit (cgroup v2): "QUOTA PERIOD" in microseconds, or "max PERIOD"."""


def available_cores() -> int:
    """The cores that the scheduler allows, or a container's limit: more threads would be throttled."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
