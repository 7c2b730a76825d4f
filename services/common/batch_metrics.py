"""What the batcher counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .calls import Call, Job
from .pair_queue import Entry
from .served_model import RowTokens

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
POWERS_OF_TWO = tuple(float(2**i) for i in range(17))


class BatchMetrics:
    """Of one queue and its forward passes; docs/metrics.md describes each."""

    def __init__(self, registry: CollectorRegistry, max_queue_tokens: int, parallel: int) -> None:
        limit = Gauge("rewardplane_queue_limit_tokens", "The most tokens that may wait", registry=registry)
        limit.set(max_queue_tokens)
        side_by_side = Gauge("rewardplane_parallel_batches", "Forward passes that may run at a time", registry=registry)
        side_by_side.set(parallel)
        self.queue_pairs = Gauge("rewardplane_queue_pairs", "Pairs that wait for a forward pass", registry=registry)
        self.queue_tokens = Gauge("rewardplane_queue_tokens", "Tokens that wait for a forward pass", registry=registry)
        self._queue_wait = Histogram(
            "rewardplane_queue_wait_seconds", "From a pair's arrival to the start of its forward pass",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batch_tokens = Histogram(
            "rewardplane_batch_tokens", "Tokens of a forward pass, each shared prefix once",
            buckets=POWERS_OF_TWO, registry=registry,
        )  # fmt: skip
        self._batch_pairs = Histogram(
            "rewardplane_batch_pairs",
            "Pairs of a forward pass",
            buckets=POWERS_OF_TWO[:11],
            registry=registry,
        )
        self._forward = Histogram(
            "rewardplane_forward_seconds", "Duration of a forward pass", buckets=SECONDS, registry=registry
        )
        self._tokens = Counter(
            "rewardplane_tokens_total", "Tokens of pairs: computed, saved by sharing, or filler of the row",
            ["kind"], registry=registry,
        )  # fmt: skip
        self.dropped = Counter(
            "rewardplane_dropped_total", "Pairs and jobs that were accepted but got no result", ["reason"],
            registry=registry,
        )  # fmt: skip
        self.forward_failures = Counter(
            "rewardplane_forward_failures_total", "Forward passes that raised an error", registry=registry
        )
        for kind in ("computed", "shared", "filler"):
            self._tokens.labels(kind)
        for reason in ("deadline", "caller_gone", "call_failed"):
            self.dropped.labels(reason)

    def count_dropped(self, n: int, work: Call | Job[Any]) -> None:
        if work.expires_at_s <= time.monotonic():
            reason = "deadline"
        else:
            reason = "caller_gone" if work.done.cancelled() else "call_failed"
        self.dropped.labels(reason).inc(n)

    def observe_batch(self, batch: Sequence[Entry], tokens: RowTokens, started_s: float, seconds: float) -> None:
        for entry in batch:
            self._queue_wait.observe(started_s - entry.queued_at_s)
        self._batch_tokens.observe(tokens.computed)
        self._batch_pairs.observe(len(batch))
        self._forward.observe(seconds)
        self._tokens.labels("computed").inc(tokens.computed)
        self._tokens.labels("shared").inc(tokens.shared)
        self._tokens.labels("filler").inc(tokens.filler)
