"""Whether sigmoid(margin) is the share of pairs that people would agree with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Pairs of similar confidence."""

    low: float
    high: float
    pairs: int
    confidence: float
    """Mean of sigmoid(|margin|)."""
    accuracy: float
    """Share whose higher score is the better answer's."""


@dataclass(frozen=True)
class Calibration:
    expected_error: float
    """ECE: mean over pairs of |accuracy - confidence| of their bin."""
    bins: tuple[CalibrationBin, ...]  # those that hold pairs, from 0.5 to 1


def calibrate(
    margin: NDArray[np.float64],  # [P]  score of the better answer minus that of the worse one
    bins: int = BINS,
) -> Calibration:
    """Bins of equal width over the confidence 0.5..1. Guo et al. (arXiv:1706.04599), eq. 2 and 3.

    The model's confidence in the order that it prefers is sigmoid(|margin|), whichever answer is named first.
    """
    confidence = 1.0 / (1.0 + np.exp(-np.abs(margin)))
    right = (1.0 + np.sign(margin)) / 2.0
    edges = np.linspace(0.5, 1.0, bins + 1)
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)
    found = []
    for i in range(bins):
        own = place == i
        if own.any():
            means = float(confidence[own].mean()), float(right[own].mean())
            found.append(CalibrationBin(float(edges[i]), float(edges[i + 1]), int(own.sum()), *means))
    error = sum(one.pairs * abs(one.accuracy - one.confidence) for one in found) / max(len(margin), 1)
    return Calibration(error, tuple(found))
