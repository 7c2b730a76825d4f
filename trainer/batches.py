"""Cuts rows into optimizer batches and micro-batches; a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
