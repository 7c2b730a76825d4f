"""Metrics that are read when they are asked for: they change while an update goes on, or none comes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .names import PREFIX
from .written import Written


class Outages(Protocol):
    """What a judge's failures have cost the run."""

    retries: int
    seconds: float


class LiveCollector(Collector):
    """Outages of the judges, and what was written; nothing of either before it is there."""

    def __init__(self) -> None:
        self.outages: Mapping[str, Outages] = {}
        """By judge."""
        self.written: Written | None = None
        self.scraped = threading.Event()
        """Set by every scrape."""

    def collect(self) -> Iterable[Metric]:
        yield from self._of_judges()
        if self.written is not None:
            yield from _of_disk(self.written)
        self.scraped.set()

    def _of_judges(self) -> Iterable[Metric]:
        retries = CounterMetricFamily(
            f"{PREFIX}judge_retries", "Calls of a judge that failed and were made again", labels=["judge"]
        )
        seconds = CounterMetricFamily(
            f"{PREFIX}judge_outage_seconds", "Time in which a judge did not answer", labels=["judge"]
        )
        for judge, outages in self.outages.items():
            retries.add_metric([judge], outages.retries)
            seconds.add_metric([judge], outages.seconds)
        return retries, seconds


def _of_disk(written: Written) -> Iterable[Metric]:
    seconds = CounterMetricFamily(
        f"{PREFIX}write_seconds", "Writing of states and policies, in the background", labels=["stage"]
    )
    for stage, spent in written.seconds.items():
        seconds.add_metric([stage], spent)
    yield seconds
    if written.last_checkpoint_at_s:
        yield GaugeMetricFamily(
            f"{PREFIX}last_checkpoint_timestamp_seconds",
            "When the newest state or checkpoint was whole, Unix time",
            value=written.last_checkpoint_at_s,
        )
    if written.policy_version is not None:
        yield GaugeMetricFamily(
            f"{PREFIX}policy_version", "Updates behind the newest published policy", value=written.policy_version
        )
