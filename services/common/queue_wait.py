"""How long a request waited in the queue, for a protocol that reports it.

Whoever answers a request asks for it around the call of the engine; the batcher fills it in. It travels with the
task's context, so that nothing between the two has to pass it on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rewardplane.tracing import record_span

from .pair_queue import Entry


class QueueWait:
    """From the arrival of a request's first pair to the start of the first forward pass that has one of its pairs."""

    def __init__(self) -> None:
        self._queued_at_s = self._started_at_s = float("inf")

    @property
    def seconds(self) -> float:
        """0 when no pair came to a forward pass."""
        return self._started_at_s - self._queued_at_s if self._started_at_s < float("inf") else 0.0

    def observe(self, entries: Sequence[Entry]) -> None:
        self._queued_at_s = min(self._queued_at_s, *(entry.queued_at_s for entry in entries))
        self._started_at_s = min(self._started_at_s, *(entry.started_at_s for entry in entries))


_current: ContextVar[QueueWait | None] = ContextVar("rewardplane_queue_wait", default=None)


@contextmanager
def measured_wait() -> Iterator[QueueWait]:
    """Gives what the calls inside, and the tasks that they start, have waited in all."""
    wait = QueueWait()
    token = _current.set(wait)
    try:
        yield wait
    finally:
        _current.reset(token)


def report_wait(entries: Sequence[Entry]) -> None:
    """Called by the batcher when a call is over."""
    started = [entry.started_at_s for entry in entries if entry.started_at_s < float("inf")]
    if started:
        record_span("queue wait", min(entry.queued_at_s for entry in entries), min(started))
        record_span("forward", min(started), time.monotonic())  # from its first batch to the end of its last one
    if wait := _current.get():
        wait.observe(entries)
