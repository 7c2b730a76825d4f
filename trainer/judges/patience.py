"""How a run waits for a judge that does not answer."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rewardplane.errors import DeadlineExceeded, DigestMismatch, RewardplaneError, Unavailable
from rewardplane.tracing import new_request_id, span

from .config import JudgeConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class JudgeMisfit(ValueError):
    """A judge that this run cannot use: another tokenizer, no score, other inputs."""


class JudgeGone(RuntimeError):
    """A judge that did not answer for longer than `outage_limit_s`."""


@dataclass
class Outages:
    """What a judge's failures have cost the run."""

    retries: int = 0
    seconds: float = 0.0
    """Calls that waited at the same time count once."""
    _counted_until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, began: float, ended: float) -> None:
        """One attempt that failed, and the pause after it; by time.monotonic()."""
        with self._lock:
            self.retries += 1
            self.seconds += max(0.0, ended - max(began, self._counted_until))
            self._counted_until = max(ended, self._counted_until)


class Judge(ABC):
    """A judge's address, its pinned weights, and the patience to wait for it."""

    def __init__(self, role: str, config: JudgeConfig) -> None:
        self.role = role
        self.config = config
        self.outages = Outages()

    @property
    @abstractmethod
    def digest(self) -> str:
        """Names the weights that the run began with."""

    @abstractmethod
    def close(self) -> None: ...

    def require(self, digest: str) -> None:
        """Raises DigestMismatch when the judge has other weights than those of this digest."""
        if self.digest != digest:
            raise DigestMismatch(
                f"the {self.role} judge has weights {self.digest[:12]}, and the run began with {digest[:12]}",
                target=self.config.target,
            )

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls until the judge answers. Raises JudgeGone after `outage_limit_s` of trying."""
        with span(f"judge {self.role}", request_id=new_request_id()):
            return self._until_answered(call)

    def _until_answered(self, call: Callable[[], T]) -> T:
        began = time.monotonic()
        pause = FIRST_PAUSE_S
        while True:
            asked = time.monotonic()
            try:
                answer = call()
            except (Unavailable, DeadlineExceeded) as error:
                self._outage(error, began, pause)
                time.sleep(pause)
                self.outages.add(asked, time.monotonic())
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                if self.outages.retries and pause > FIRST_PAUSE_S:
                    waited = time.monotonic() - began
                    log.warning("%s judge at %s answers again after %.1f s", self.role, self.config.target, waited)
                return answer

    def _outage(self, error: RewardplaneError, began: float, pause: float) -> None:
        waited = time.monotonic() - began
        if waited + pause > self.config.outage_limit_s:
            raise JudgeGone(
                f"the {self.role} judge at {self.config.target} has not answered for {waited:.0f} s "
                f"(outage_limit_s = {self.config.outage_limit_s:g}): {error}"
            ) from error
        log.error(
            "the %s judge at %s does not answer (%s); the run waits for it, for %.0f s more at most",
            self.role, self.config.target, error, self.config.outage_limit_s - waited,
        )  # fmt: skip
