"""How long something takes on the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: str, rounds: int = 5, warm_up: int = 2) -> float:
    """Median wall seconds from the call to the end of its work on the device."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(rounds):
        wait(device)
        began = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def in_turns(runs: dict[str, Callable[[], object]], device: str, rounds: int = 5) -> dict[str, float]:
    """Median seconds of each, one after the other in every round, so that a drifting clock hits all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            times[name].append(seconds(run, device, rounds=1, warm_up=0))
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def extra_memory(run: Callable[[], object], device: str) -> float:
    """Peak bytes on the device beyond what was there before; 0 on a CPU."""
    if device != "cuda":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return float(torch.cuda.max_memory_allocated() - before)
