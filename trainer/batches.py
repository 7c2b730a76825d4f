"""Cuts rows into optimizer batches, micro-batches and shares of processes; batches depend on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


def shuffled(n: int, seed: int, epoch: int) -> list[int]:
    """The order of n rows in an epoch."""
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(n).tolist()
    return order


def by_tokens(order: Sequence[int], costs: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Cuts `order` wherever the next row's cost would exceed `max_tokens`; a longer row stands alone."""
    batch: list[int] = []
    used = 0
    for i in order:
        if batch and used + costs[i] > max_tokens:
            yield batch
            batch, used = [], 0
        batch.append(i)
        used += costs[i]
    if batch:
        yield batch


def by_count(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cuts `order` into runs of `size` rows; the last may be shorter."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass(frozen=True)
class Turn:
    """A micro-batch of one process."""

    rows: Sequence[int]
    weight: float = 1.0
    """0.0 where the process has nothing left to do and keeps step with the others; else 1.0."""


def turns(order: Sequence[int], costs: Sequence[int], max_tokens: int, processes: int) -> list[list[Turn]]:
    """The micro-batches of each process, of at most `max_tokens`; equally many, since a sharded model runs in step.

    Neighbours stay together, and each process gets about the same number of tokens.
    """
    if not order:
        return [[] for _ in range(processes)]
    total = sum(costs[i] for i in order)
    shares: list[list[int]] = [[] for _ in range(processes)]
    before = 0
    for i in order:
        middle = before + costs[i] / 2
        shares[int(processes * middle / total)].append(i)
        before += costs[i]
    cut = [list(by_tokens(share, costs, max_tokens)) for share in shares]
    idle = Turn([min(order, key=costs.__getitem__)], 0.0)
    most = max(map(len, cut))
    return [[*(Turn(rows, 1.0) for rows in own), *[idle] * (most - len(own))] for own in cut]
