"""Who calls, as metrics name callers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from .access import current_caller

OTHERS = "others"
"""Stands for every caller after the first MOST_IDENTITIES."""
MOST_IDENTITIES = 100


class CallerMetrics:
    """What each caller has asked for; as many series as there are callers, and at most MOST_IDENTITIES + 1."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: set[str] = set()
        self._calls = Counter(
            "rewardplane_caller_calls_total", "Calls for scores, log-probs and answers", ["identity"], registry=registry
        )
        self._tokens = Counter(
            "rewardplane_caller_tokens_total", "Tokens of questions and answers that were accepted", ["identity"],
            registry=registry,
        )  # fmt: skip

    def count_call(self) -> None:
        self._calls.labels(self._label()).inc()

    def count_tokens(self, tokens: int) -> None:
        self._tokens.labels(self._label()).inc(tokens)

    def _label(self) -> str:
        identity = current_caller().name
        if identity not in self._known:
            if len(self._known) >= MOST_IDENTITIES:
                return OTHERS
            self._known.add(identity)
        return identity
