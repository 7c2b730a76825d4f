"""How well the scores of one question order its answers, beyond pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..intervals import Estimate, estimate
from ..rankings.ranked import Ranks

Scores = NDArray[np.float32]


def kendall_tau_b(
    x: ArrayLike,  # [K]
    y: ArrayLike,  # [K]
) -> float:  # -1..1; NaN where all of x or all of y tie
    """(C - D) / sqrt((n0 - n1)(n0 - n2)): Kendall (1945), with ties in both; scipy.stats.kendalltau's default."""
    upper = np.triu_indices(len(np.asarray(x)), k=1)
    dx, dy = (np.sign(np.subtract.outer(values, values))[upper] for values in (np.asarray(x), np.asarray(y)))
    untied = float((dx != 0).sum()) * float((dy != 0).sum())
    return float((dx * dy).sum() / np.sqrt(untied)) if untied else float("nan")


def mean_tau_b(scores: Sequence[Scores], ranks: Sequence[Ranks]) -> Estimate | None:
    """Mean over the questions that have a pair; scores that all tie say nothing and count 0."""
    taus = []
    for own, places in _with_pairs(scores, ranks):
        tau = kendall_tau_b(own, -places)  # rank 0 is the best
        taus.append(0.0 if np.isnan(tau) else tau)
    return estimate(taus, np.ones(len(taus)))


def top_1(scores: Sequence[Scores], ranks: Sequence[Ranks]) -> Estimate | None:
    """Share of questions whose highest score belongs to an answer of the best rank.

    Answers that share the highest score share the point.
    """
    hits = []
    for own, places in _with_pairs(scores, ranks):
        highest = own == own.max()
        hits.append(float((places[highest] == places.min()).mean()))
    return estimate(hits, np.ones(len(hits)))


def top_1_chance(scores: Sequence[Scores], ranks: Sequence[Ranks]) -> float:
    """What random scores get; NaN without a pair."""
    chances = [float((places == places.min()).mean()) for _, places in _with_pairs(scores, ranks)]
    return float(np.mean(chances)) if chances else float("nan")


def _with_pairs(scores: Sequence[Scores], ranks: Sequence[Ranks]) -> list[tuple[Scores, NDArray[np.int64]]]:
    """Scores and ranks of the answers whose rank is known, of questions with two different ranks."""
    chosen = []
    for own, places in zip(scores, ranks, strict=True):
        known = [i for i, rank in enumerate(places) if rank is not None]
        if len({places[i] for i in known}) > 1:
            chosen.append((own[known], np.array([places[i] for i in known], np.int64)))
    return chosen
