"""Active choice of what is asked: the questions whose rankings the reward model should learn most from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def by_margin(scores: Sequence[Floats]) -> list[int]:  # [K] each
    """Places of the questions, those whose answers score most alike first: mean |r_i - r_j| over pairs."""
    return _ascending([float(np.abs(_differences(own[None])).mean()) for own in scores])


def by_disagreement(scores: Sequence[Floats]) -> list[int]:  # [heads, K] each
    """Places of the questions, those that the heads disagree most about first.

    The variance over heads of sigmoid(r_i - r_j), mean over pairs (Lakshminarayanan et al., arXiv:1612.01474, have
    ensembles for uncertainty; Christiano et al., arXiv:1706.03741, section 2.2.4, ask by the variance of theirs).
    """
    return _ascending([-float((1.0 / (1.0 + np.exp(-_differences(own)))).var(axis=0).mean()) for own in scores])


def _differences(scores: Floats) -> NDArray[np.float64]:  # [heads, K] -> [heads, K (K - 1) / 2]
    first, second = np.triu_indices(scores.shape[1], k=1)
    wide = scores.astype(np.float64)
    return wide[:, first] - wide[:, second]


def _ascending(values: Sequence[float]) -> list[int]:
    return [int(i) for i in np.argsort(np.asarray(values), kind="stable")]
