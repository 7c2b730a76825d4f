"""Means over seeds with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

T_975 = {2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262}
"""97.5 % points of Student's t by degrees of freedom."""


def over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval, mean +- t * s / sqrt(n): seeds are few, so Student's t and no resampling."""
    mean = statistics.fmean(values)
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def told(values: Sequence[float]) -> str:
    mean, low, high = over_seeds(values)
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"
