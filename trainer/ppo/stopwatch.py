"""Where the time of an update goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Wall seconds of the stages of an update."""

    def __init__(self, *stages: str) -> None:
        """Of `stages` that an update does not come to, it reports 0."""
        self.laps = {f"seconds_{stage}": 0.0 for stage in stages}
        """By figure: seconds_STAGE."""
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        figure = f"seconds_{stage}"
        self.laps[figure] = self.laps.get(figure, 0.0) + now - self._last
        self._last = now

    def figures(self) -> dict[str, float]:
        return self.laps | {"seconds_total": sum(self.laps.values())}
