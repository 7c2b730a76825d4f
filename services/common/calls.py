"""What waits for the compute thread: the pairs of a call, and jobs that are no batch of pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rewardplane.wire import TokenPair

from .access import Caller, current_caller
from .faults import Fault
from .pair_queue import Entry

T = TypeVar("T")


class Call:
    """One request: all of its pairs are answered, or the first fault of any is. Lives on the event loop.

    Its entries know it, and it does not know them: what knows each other stays in memory until a full collection.
    """

    def __init__(self, pairs: int, *, expires_at_s: float, done: asyncio.Future[list[Any]]) -> None:
        self.done = done
        self.expires_at_s = expires_at_s
        self._results: list[Any] = [None] * pairs
        self._waiting = pairs

    def entries(self, pairs: Sequence[TokenPair], temperature: float, now_s: float) -> list[Entry]:
        """What waits for it in the queue, for whoever calls now."""
        caller = current_caller()
        return [
            Entry(pair, temperature, self.expires_at_s, now_s, i, self.settle, caller) for i, pair in enumerate(pairs)
        ]

    def settle(self, index: int, result: Any) -> None:
        """Takes the result, or the fault, of one pair."""
        if self.done.done():
            return
        if isinstance(result, Fault):
            self.done.set_exception(result)
            return
        self._results[index] = result
        self._waiting -= 1
        if not self._waiting:
            self.done.set_result(self._results)


@dataclass(eq=False)
class Job(Generic[T]):
    """Something else that needs the compute thread."""

    run: Callable[[], T]
    done: asyncio.Future[T]
    tokens: int
    expires_at_s: float
    caller: Caller = field(default_factory=current_caller)

    def succeed(self, result: T) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
