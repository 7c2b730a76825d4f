"""Writes in the background: the run goes on while the disk or the network takes its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

WAITING = 2
"""Tasks that may wait or run; each holds a copy of what it writes in memory."""


class Writer:
    """Does tasks one after the other on a thread of its own. A task that failed is raised by the next call."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._tasks: deque[Future[None]] = deque()

    def submit(self, task: Callable[[], None]) -> None:
        """Waits when too much is waiting already."""
        self._take_off(WAITING - 1)
        self._tasks.append(self._thread.submit(task))

    def finish(self) -> None:
        """Waits for all tasks."""
        self._take_off(0)

    def _take_off(self, waiting: int) -> None:
        while self._tasks and (len(self._tasks) > waiting or self._tasks[0].done()):
            self._tasks.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was given to it is written also when the run failed."""
        self._thread.shutdown()
        if error is None:
            self.finish()
