"""How many tokens an identity may have computed."""

from __future__ import annotations

import time


class TokenBucket:
    """Fills with `rate` tokens a second up to `burst`; what a request takes may leave it in debt.

    So a request of any size is served once the bucket is full, and pays for it afterwards. On the event loop only.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._filled_at_s = time.monotonic()

    def wait_s(self, tokens: float) -> float:
        """Seconds until a request of so many tokens may come; 0 when it may now."""
        now_s = time.monotonic()
        self._level = min(self.burst, self._level + (now_s - self._filled_at_s) * self.rate)
        self._filled_at_s = now_s
        return max(0.0, (min(tokens, self.burst) - self._level) / self.rate)

    def take(self, tokens: float) -> None:
        self._level -= tokens
