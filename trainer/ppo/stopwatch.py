"""Where the time of an update goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Wall seconds of the stages of an update."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        """By figure: seconds_STAGE."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[f"seconds_{stage}"] = now - self._last
        self._last = now

    def figures(self) -> dict[str, float]:
        return self.laps | {"seconds_total": sum(self.laps.values())}
