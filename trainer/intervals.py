"""Means with intervals over questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK = 2**22
"""Draws held at a time: 32 MB."""


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    """2.5 % point of the bootstrap over questions."""
    high: float
    """97.5 % point."""
    count: int
    """What the mean is taken over: pairs, or questions."""
    questions: int
    """What is resampled. Few of them, and the interval says too little."""


def estimate(
    totals: ArrayLike,  # [Q]  sum over the pairs of each question
    counts: ArrayLike,  # [Q]  how many pairs; questions with none are left out
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate | None:
    """sum(totals) / sum(counts), with a percentile interval; None where nothing was counted.

    Questions are resampled and not pairs: the K(K-1)/2 pairs of a question share its answers, so they are not
    independent, and an interval over pairs would be too narrow (Efron & Tibshirani 1993, chapters 8 and 13).
    """
    total, count = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
    total, count = total[count > 0], count[count > 0]
    n = len(count)
    if not n:
        return None
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    step = max(1, BLOCK // n)
    for start in range(0, resamples, step):
        drawn = rng.integers(n, size=(min(step, resamples - start), n))
        means.append(total[drawn].sum(axis=1) / count[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Estimate(float(total.sum() / count.sum()), float(low), float(high), int(count.sum()), n)
