"""Threads that run one kernel together wait for each other, and calls of several threads do not wait for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from rewardplane.modeling.fused.rows import CORES, HAVE_NUMBA, together

pytestmark = pytest.mark.skipif(not HAVE_NUMBA, reason="needs numba")
ROUNDS = 2000


def kernel() -> Any:
    """In every round each thread writes down the round, and then reads what all have written."""
    from numba import njit

    from rewardplane.modeling.fused.meeting import meet

    @njit(nogil=True)  # type: ignore[untyped-decorator]
    def rounds(written: Any, seen: Any, meeting: Any, part: int, parts: int) -> None:
        for number in range(ROUNDS):
            written[part] = number
            meet(meeting, parts)
            seen[part, number] = written.sum()
            meet(meeting, parts)

    return rounds


@pytest.mark.parametrize("parts", range(1, min(CORES, 4) + 1))
def test_everybody_sees_what_all_have_written(parts: int) -> None:
    written, seen = np.zeros(parts, np.int64), np.zeros((parts, ROUNDS), np.int64)
    together(kernel(), written, seen, np.zeros(2, np.int64), parts=parts)
    assert np.array_equal(seen, np.tile(parts * np.arange(ROUNDS), (parts, 1)))


@pytest.mark.timeout(60)
def test_more_calls_at_once_than_there_are_threads() -> None:
    rounds, parts = kernel(), min(CORES, 4)

    def call(_: int) -> int:
        seen = np.zeros((parts, ROUNDS), np.int64)
        together(rounds, np.zeros(parts, np.int64), seen, np.zeros(2, np.int64), parts=parts)
        return int(seen.min(axis=0).sum())

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(call, range(12))) == {parts * ROUNDS * (ROUNDS - 1) // 2}
