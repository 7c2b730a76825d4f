"""Deadlines, and when to try a request again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from rewardplane.errors import QuotaExceeded, Unavailable
from rewardplane.status import error_from_rpc

# Not the `random` module's own generator: a trainer seeds and checkpoints that one, and an outage of a server
# must change no number in a run.
_jitter = random.Random()


@dataclass(frozen=True)
class RetryPolicy:
    """How a client waits between attempts. The deadline of the call bounds all of them together."""

    initial_backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    max_attempts: int | None = None
    """1 never retries; None goes on until the deadline."""

    def __post_init__(self) -> None:
        if not 0 < self.initial_backoff_s <= self.max_backoff_s:
            raise ValueError(
                f"initial_backoff_s is {self.initial_backoff_s} and max_backoff_s {self.max_backoff_s}; "
                "wanted is 0 < initial_backoff_s <= max_backoff_s"
            )
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}; wanted is 1 or more, or None")


class Deadline:
    """The moment at which a call must have ended."""

    def __init__(self, timeout_s: float) -> None:
        if not (timeout_s > 0 and math.isfinite(timeout_s)):
            raise ValueError(f"timeout_s is {timeout_s}; wanted is a finite number above 0")
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        return max(0.0, self._end_s - time.monotonic())


class Attempts:
    """One request's way through the targets until it is answered or must fail. Does no IO, never sleeps."""

    def __init__(
        self,
        policy: RetryPolicy,
        targets: Sequence[str],  # in the order to try them
        deadline: Deadline,
        first_index: int,  # as in error_from_rpc
    ) -> None:
        self._policy = policy
        self._targets = targets
        self._deadline = deadline
        self._first_index = first_index
        self._made = 0
        self._refused = 0  # UNAVAILABLE answers, which move on to the next target
        self._backoff_s = policy.initial_backoff_s
        self._hints_s: list[float] = []  # RetryInfo of this round's answers

    @property
    def target(self) -> str:
        return self._targets[self._refused % len(self._targets)]

    def pause_s(self, rpc_error: grpc.RpcError) -> float:
        """Gives the seconds to wait before the next attempt, or raises what the caller is to see.

        UNAVAILABLE goes on to the next target at once, and waits when all have refused. The wait is the
        backoff, which doubles each time, on top of the shortest RetryInfo. A wait that would pass the
        deadline is not begun.
        """
        error = error_from_rpc(rpc_error, self.target, self._first_index)
        self._made += 1
        if not isinstance(error, (Unavailable, QuotaExceeded)) or self._made == self._policy.max_attempts:
            raise error from rpc_error
        if error.retry_after_s is not None:
            self._hints_s.append(error.retry_after_s)
        if isinstance(error, Unavailable):
            self._refused += 1
            if self._refused % len(self._targets):
                return 0.0
        pause_s = min(self._hints_s, default=0.0) + self._backoff_s * _jitter.uniform(0.5, 1.0)
        if pause_s >= self._deadline.remaining_s():
            error.add_note(f"gave up after {self._made} attempts: the deadline is nearer than the next one")
            raise error from rpc_error
        self._backoff_s = min(2 * self._backoff_s, self._policy.max_backoff_s)
        self._hints_s.clear()
        return pause_s
