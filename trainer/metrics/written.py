"""What a run has put on disk, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .names import WRITING


class Written:
    """Told by whoever writes, on whatever thread; read when metrics are asked for."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(WRITING, 0.0)
        """Spent on writing, by stage."""
        self.last_checkpoint_at_s = 0.0
        """When the newest state or checkpoint was whole, Unix time; 0 before the first."""
        self.policy_version: int | None = None
        """Updates behind the newest published policy."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Around the writing of a state ("checkpoint") or of a policy that is served ("publish")."""
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began
        self.last_checkpoint_at_s = time.time()
