"""Callers in a closed loop: each asks, waits for the answer, and asks again."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .assets import Request
from .servers import Running

Ask = Callable[[Request], Awaitable[object]]


@dataclass(frozen=True)
class Window:
    """What a server did between the first request and the last answer."""

    pairs: int
    tokens: int
    answer_tokens: int
    seconds: float
    cpu_seconds: float
    latencies_s: Sequence[float]
    """Of the requests that began and ended while all callers were at work."""

    @property
    def pairs_per_s(self) -> float:
        return self.pairs / self.seconds

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def cpu_ms_per_pair(self) -> float:
        return 1e3 * self.cpu_seconds / self.pairs

    @property
    def cpu_us_per_token(self) -> float:
        return 1e6 * self.cpu_seconds / self.tokens

    @property
    def cpu_us_per_answer_token(self) -> float:
        return 1e6 * self.cpu_seconds / self.answer_tokens

    def latency_ms(self, percent: float) -> float:
        return 1e3 * float(np.percentile(self.latencies_s, percent))


class RanOut(RuntimeError):
    """A server that was asked more requests than there are."""


async def closed_loop(
    server: Running, ask: Ask, requests: Sequence[Request], kind: str, *, callers: int, seconds: float, block: int
) -> Window:
    """Asks whole blocks of requests that the server has not seen, for at least `seconds`."""
    first = server.asked.get(kind, 0)
    began_s = time.perf_counter()
    cpu_s = server.process.cpu_seconds()

    def issue() -> Iterator[Request]:
        for number in itertools.count(first):
            whole = number > first and (number - first) % block == 0
            if whole and time.perf_counter() - began_s > seconds:
                return
            if number == len(requests):
                raise RanOut(f"{server.name} has had all {number} requests ({kind}): measure for less time")
            server.asked[kind] = number + 1
            yield requests[number]

    calls: list[tuple[float, float]] = []
    issued = issue()

    async def caller() -> None:
        for request in issued:
            asked_s = time.perf_counter()
            await ask(request)
            calls.append((asked_s, time.perf_counter()))

    await asyncio.gather(*(caller() for _ in range(callers)))
    ended_s = max(end for _, end in calls)
    done = requests[first : server.asked[kind]]
    return Window(
        pairs=sum(len(request.answers) for request in done),
        tokens=sum(sum(request.tokens) for request in done),
        answer_tokens=sum(sum(request.answer_tokens) for request in done),
        seconds=ended_s - began_s,
        cpu_seconds=server.process.cpu_seconds() - cpu_s,
        latencies_s=_steady(calls, callers),
    )


def _steady(calls: Sequence[tuple[float, float]], callers: int) -> list[float]:
    """Without the first requests, which arrive all at once, and the last, whose callers leave one by one."""
    if len(calls) < 3 * callers:
        return [end - begin for begin, end in calls]
    begins, ends = sorted(begin for begin, _ in calls), sorted(end for _, end in calls)
    from_s, to_s = begins[callers - 1], ends[-callers]
    return [end - begin for begin, end in calls if begin > from_s and end <= to_s]
