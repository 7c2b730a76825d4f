"""What is served and what it answers, as metrics; docs/metrics.md describes each."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .served_model import ServedModel

SCORES = (
    -1000.0, -500.0, -200.0, -100.0, -50.0, -20.0, -10.0, -5.0, -3.0, -2.0, -1.0, -0.5, 0.0,
    0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0,
)  # fmt: skip
"""Fine where rewards lie; far down, for sums of log-probs."""


class ModelMetrics:
    """Of the loaded model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "rewardplane_model_info", "What is served; always 1", ["role", "model_name", "dtype"], registry=registry
        )
        self._policy_version = Gauge("rewardplane_policy_version", "PPO updates behind the weights", registry=registry)
        self._digest = Gauge(
            "rewardplane_model_digest", "First 12 hex digits of the checkpoint's digest, as a number", registry=registry
        )
        self._load_seconds = Gauge(
            "rewardplane_model_load_seconds", "Duration of the last load, check and warm-up", registry=registry
        )
        self._loaded_at = Gauge(
            "rewardplane_model_load_timestamp_seconds", "When the weights were loaded, Unix time", registry=registry
        )
        self.load_failures = Counter(
            "rewardplane_model_load_failures_total", "Checkpoints that could not replace the one that serves",
            registry=registry,
        )  # fmt: skip

    def loaded(self, role: str, model: ServedModel, dtype: str, started_s: float) -> None:
        """`started_s`: when loading began, by time.monotonic()."""
        self._info.clear()
        self._info.labels(role, model.version.model_name, dtype).set(1)
        self._policy_version.set(model.version.policy_version)
        self._digest.set(int(model.version.checkpoint_digest[:12] or "0", 16))  # 48 bits: exact in a float64
        self._load_seconds.set(time.monotonic() - started_s)
        self._loaded_at.set(model.loaded_at_s)


class ScoreMetrics:
    """The distribution of served scores, by model: another one is another distribution."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._scores = Histogram(
            "rewardplane_scores", "Scores that were served", ["model_name"], buckets=SCORES, registry=registry
        )
        # Scores may be negative, and then the sum of a histogram is no counter: rates of it would be wrong.
        self._points = Counter(
            "rewardplane_score_points_total", "Served scores added up, by sign, as magnitudes",
            ["model_name", "sign"], registry=registry,
        )  # fmt: skip
        self._model_name = ""

    def observe(self, scores: NDArray[np.float32], model_name: str) -> None:
        if model_name != self._model_name:  # a model that is gone keeps no series
            self._scores.clear()
            self._points.clear()
            self._model_name = model_name
        histogram = self._scores.labels(model_name)
        served = scores.tolist()
        for score in served:
            histogram.observe(score)
        self._points.labels(model_name, "positive").inc(sum(score for score in served if score > 0))
        self._points.labels(model_name, "negative").inc(-sum(score for score in served if score < 0))
