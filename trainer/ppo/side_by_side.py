"""Runs what the policy and what the value model compute at the same time, where that is quicker.

The two models share no weight, so on a CPU with several cores each gets half of them: small operations do not
spread over cores, two models do. A GPU runs one after the other: together they would need the memory of both.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from ..processes import ALONE, Processes

S = TypeVar("S")
T = TypeVar("T")


def side_by_side(
    device: torch.device, first: Callable[[], S], second: Callable[[], T], *, processes: Processes = ALONE
) -> tuple[S, T]:
    """Gives both results. When one fails, the other still ends before the error is raised."""
    threads = torch.get_num_threads()
    # Several processes must meet in the same order.
    if device.type != "cpu" or threads == 1 or processes.count > 1:
        return first(), second()

    def with_its_share() -> T:
        torch.set_num_threads(threads // 2)  # of this thread; a new one has the process's
        return second()

    with ThreadPoolExecutor(1, thread_name_prefix="value") as pool:
        other = pool.submit(with_its_share)
        torch.set_num_threads(threads - threads // 2)
        try:
            return first(), other.result()
        finally:
            torch.set_num_threads(threads)
