"""How a worker and the benchmark talk: the benchmark asks for a block of updates, the worker reports on it.

Workers wait between blocks, so contestants take turns on a quiet machine and no start-up is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping


class Blocks:
    """The worker's side. stdout carries the reports; what the trainers print goes to stderr."""

    def __init__(self) -> None:
        self._reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._left = 0
        self._seconds: list[float] = []
        self._stages: dict[str, float] = {}

    def wait(self) -> None:
        """Until the next block is asked for; the end of stdin ends the process."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # in the middle of a training that nobody wants to finish
        self._left = int(line)
        self._seconds, self._stages = [], {}
        self._last = time.perf_counter()

    def update_done(self, stages: Mapping[str, float]) -> None:
        """`stages`: seconds by name, added up over the block."""
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        for name, seconds in stages.items():
            self._stages[name] = self._stages.get(name, 0.0) + seconds
        self._left -= 1
        if not self._left:
            self._reports.write(json.dumps({"seconds": self._seconds, "stages": self._stages}) + "\n")
            self._reports.flush()
            self.wait()
