"""The order in which questions and pretraining texts are used: a function of seed and update alone.

So a resumed run needs no cursor to go on with exactly the next ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Shuffled(Generic[T]):
    """An endless sequence that runs through `items` in a new order every pass."""

    def __init__(self, items: Sequence[T], seed: int, stream: int) -> None:
        """`stream` keeps the orders of several sequences with one seed apart."""
        if not items:
            raise ValueError("there is nothing to draw from")
        self.items = items
        self._key = (seed, stream)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def batch(self, number: int, size: int) -> list[T]:
        """Items [number * size, (number + 1) * size) of the endless sequence."""
        return [self._at(i) for i in range(number * size, (number + 1) * size)]

    def _at(self, i: int) -> T:
        lap, place = divmod(i, len(self.items))
        if lap != self._order[0]:
            rng = np.random.default_rng([*self._key, lap])
            self._order = (lap, rng.permutation(len(self.items)))
        return self.items[int(self._order[1][place])]
