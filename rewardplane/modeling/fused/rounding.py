"""What a kernel multiplies, in the type of the weights."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from .vectors import round_to_pairs


def as_factors(x: Any, room: Any, first: int, end: int) -> Any:
    """x[T, K], rows `first` to `end`: itself, or rounded to pairs of bfloat16 in `room`, int32[T, K / 2 at least].

    Of a `room` of float32, which is not looked at, the kernel has no other use than to know this.
    """
    raise NotImplementedError


@overload(as_factors)
def _as_factors(x: Any, room: Any, first: int, end: int) -> Any:
    def same(x: Any, room: Any, first: int, end: int) -> Any:
        return x

    def rounded(x: Any, room: Any, first: int, end: int) -> Any:
        numbers, pairs = x.reshape(-1), room.reshape(-1)
        width, apart = x.shape[1], room.shape[1]
        for row in range(first, end):
            round_to_pairs(pairs, row * apart, numbers, row * width, width)
        return room

    return rounded if room.dtype == types.int32 else same
