"""How far people who ranked the same answers agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..intervals import Estimate, estimate
from ..rankings.ranked import Ranks

Table = NDArray[np.float64]


def kendall_w(
    ranks: ArrayLike,  # [M, K]  of M people and K answers; ties are equal
) -> float:  # 0..1; NaN where everybody ties everything
    """12 S / (M^2 (K^3 - K) - M T): Kendall & Babington Smith (1939), with T for ties, as Legendre (2005) has it.

    1: all in one order; 1/M is what random orders give on average.
    """
    places = mid_ranks(np.asarray(ranks, np.float64))
    people, answers = places.shape
    sums = places.sum(axis=0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    ties = sum(float((counts**3 - counts).sum()) for counts in map(_tie_sizes, places))
    most = people**2 * (answers**3 - answers) - people * ties
    return 12 * spread / most if most else float("nan")


def mid_ranks(
    ranks: Table,  # [M, K]
) -> Table:  # [M, K]  1..K; those that tie share the mean of their places
    better = (ranks[:, :, None] > ranks[:, None, :]).sum(axis=2)
    equal = (ranks[:, :, None] == ranks[:, None, :]).sum(axis=2)
    places: Table = better + (equal + 1) / 2
    return places


def mean_kendall_w(items: Sequence[Sequence[Ranks]]) -> Estimate | None:
    """Mean over the items that two people or more ranked, of the answers to which all of them gave a rank."""
    each = [kendall_w(table) for ranks in items if (table := _shared(ranks)).size]
    known = [w for w in each if not np.isnan(w)]
    return estimate(known, np.ones(len(known)))


def pairwise_agreement(items: Sequence[Sequence[Ranks]]) -> Estimate | None:
    """How often two people put two answers in the same order, of those which both put in some order."""
    same, both = np.zeros(len(items)), np.zeros(len(items))
    for number, ranks in enumerate(items):
        for one, other in combinations(ranks, 2):
            signs = [_sign(one, i, j) * _sign(other, i, j) for i, j in combinations(range(len(one)), 2)]
            same[number] += signs.count(1)
            both[number] += signs.count(1) + signs.count(-1)
    return estimate(same, both)


def _shared(ranks: Sequence[Ranks]) -> Table:  # [M, k]; empty where M or k is less than 2
    known = [i for i in range(len(ranks[0])) if all(own[i] is not None for own in ranks)] if ranks else []
    if len(ranks) < 2 or len(known) < 2:
        return np.empty((0, 0))
    return np.array([[own[i] for i in known] for own in ranks], np.float64)


def _sign(ranks: Ranks, i: int, j: int) -> int:
    """1 where i is the better, -1 where j is; 0 for a tie or an unknown rank."""
    first, second = ranks[i], ranks[j]
    return 0 if first is None or second is None else (second > first) - (second < first)


def _tie_sizes(places: Table) -> Table:
    return np.unique(places, return_counts=True)[1].astype(np.float64)
