"""What a /metrics page says, and what happened between two of them."""

from __future__ import annotations

import math
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0


class NoMetrics(RuntimeError):
    """A page that cannot be read."""


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float

    def has(self, name: str, labels: Mapping[str, str]) -> bool:
        return self.name == name and all(self.labels.get(key) == value for key, value in labels.items())


@dataclass(frozen=True)
class Scrape:
    at_s: float
    """By time.monotonic()."""
    samples: tuple[Sample, ...]

    def total(self, name: str, **labels: str) -> float | None:
        """Sum over the series with these labels; None without one."""
        values = [sample.value for sample in self.samples if sample.has(name, labels)]
        return sum(values) if values else None

    def by(self, label: str, name: str) -> dict[str, float]:
        """Sums over series, by the value of a label."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name:
                key = sample.labels.get(label, "")
                found[key] = found.get(key, 0.0) + sample.value
        return found


def scrape(url: str) -> Scrape:
    """Raises NoMetrics."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
            text = reply.read().decode()
        families = list(text_string_to_metric_families(text))
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise NoMetrics(f"{url} gives no metrics: {error}") from error
    samples = tuple(Sample(s.name, s.labels, s.value) for family in families for s in family.samples)
    return Scrape(time.monotonic(), samples)


def rate(before: Scrape, now: Scrape, name: str, **labels: str) -> float:
    """Growth of a counter a second. A process that has started again counts from 0."""
    grown = (now.total(name, **labels) or 0.0) - (before.total(name, **labels) or 0.0)
    return max(grown, 0.0) / max(now.at_s - before.at_s, 1e-9)


def quantile(before: Scrape, now: Scrape, q: float, name: str) -> float | None:
    """Of what a histogram has seen in between; None when that is nothing.

    As Prometheus' histogram_quantile: linear within a bucket, and the last bound for what lies beyond.
    """
    old = before.by("le", f"{name}_bucket")
    new = now.by("le", f"{name}_bucket")
    counts = sorted((float(le), count - old.get(le, 0.0)) for le, count in new.items())
    if not counts or counts[-1][1] <= 0:
        return None
    rank = q * counts[-1][1]
    low, below = 0.0, 0.0
    for bound, count in counts:
        if count >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / max(count - below, 1e-12)
        low, below = bound, count
    return low
