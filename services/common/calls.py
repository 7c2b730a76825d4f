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
    """The pairs of one request: all are answered, or the first fault of any is. Lives on the event loop."""

    def __init__(
        self,
        pairs: Sequence[TokenPair],
        temperature: float,
        *,
        expires_at_s: float,
        now_s: float,
        done: asyncio.Future[list[Any]],
    ) -> None:
        self.done = done
        self.expires_at_s = expires_at_s
        caller = current_caller()
        self.entries = [
            Entry(pair, temperature, expires_at_s, now_s, i, self.settle, caller) for i, pair in enumerate(pairs)
        ]
        self._results: list[Any] = [None] * len(pairs)
        self._waiting = len(pairs)

    @property
    def tokens(self) -> int:
        return sum(entry.tokens for entry in self.entries)

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
