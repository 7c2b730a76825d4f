"""Serves the metrics of one run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

import torch.distributed
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server

from rewardplane.modeling.device_memory import DeviceMemoryCollector

from ..config import ConfigError
from .config import MetricsConfig
from .live import LiveCollector, Outages
from .names import COUNTERS, ELSEWHERE, GAUGES, PREFIX, STAGES
from .written import Written

log = logging.getLogger(__name__)

Kind = Literal["sft", "reward", "ppo"]


class RunMetrics:
    """Open from before a run loads anything until it has ended: a judge that is away from the start is seen, too.

    Without a port, and on ranks other than 0, all is counted and nobody is told.
    """

    def __init__(self, config: MetricsConfig, kind: Kind, *, updates: int, device: str) -> None:
        self._config = config
        self._live = LiveCollector()
        self.registry = CollectorRegistry()
        self.registry.register(self._live)
        self.registry.register(DeviceMemoryCollector(device))
        ProcessCollector(registry=self.registry)
        self._info = self._gauge("info", "What is trained; always 1", ["kind"])
        self._info.labels(kind).set(1)
        self._gauge("planned_updates", "Updates that the run is to have").set(updates)
        self._update = self._gauge("update", "Updates that the run has, those before a resume included")
        self._last_update = self._gauge("last_update_timestamp_seconds", "When the last update ended, Unix time")
        self._last_update.set_to_current_time()
        self._finished = self._gauge("finished", "1 when the run has ended as it should")
        self._updates = self._counter("updates_total", "Updates that this process has done")
        self._stages = self._counter("stage_seconds_total", "Wall time of the stages of updates", ["stage"])
        self._figures = self._gauge("figure", "Figures of the run's own judge, by name", ["name"])
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}

    def watch(self, written: Written, outages: Mapping[str, Outages] | None = None) -> None:
        """From now on these are shown as they are at each scrape; outages by the judge that had them."""
        self._live.written = written
        self._live.outages = dict(outages or {})

    def resume(self, updates: int) -> None:
        """The run goes on after so many updates."""
        self._update.set(updates)

    def observe(self, update: int, figures: Mapping[str, float]) -> None:
        """Takes the figures of update number `update`, from 0; without `seconds_update` they are an evaluation's."""
        for name, value in figures.items():
            self._take(name, value)
        if "seconds_update" in figures:
            self._updates.inc()
            self._update.set(update + 1)
            self._last_update.set_to_current_time()

    def _take(self, name: str, value: float) -> None:
        if name in STAGES:
            self._stages.labels(STAGES[name]).inc(value)
        elif name in COUNTERS:
            if name not in self._counters:
                self._counters[name] = self._counter(COUNTERS[name], f"Sum of `{name}` over updates")
            self._counters[name].inc(value)
        elif name in GAUGES:
            if name not in self._gauges:  # only what a run measures: no zeros for what it has not
                self._gauges[name] = self._gauge(GAUGES[name], f"`{name}` of metrics.jsonl")
            self._gauges[name].set(value)
        elif name not in ELSEWHERE:
            self._figures.labels(name).set(value)

    def __enter__(self) -> Self:
        """Raises ConfigError when the port cannot be had."""
        self.port: int | None = None
        if self._config.port is None or not _is_first_rank():
            return self
        host = self._config.host
        try:
            self._server, _ = start_http_server(self._config.port, host.strip("[]"), self.registry)
        except OSError as error:
            raise ConfigError(f"metrics.port = {self._config.port}: {host} has no such port: {error}") from error
        self.port = self._server.server_port
        log.info("metrics on http://%s:%d/metrics", host, self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.port is None:
            return
        if error is None:
            self._wait_for_last_scrape()
        self._server.shutdown()
        self._server.server_close()

    def _wait_for_last_scrape(self) -> None:
        self._finished.set(1)
        self._live.scraped.clear()
        if self._live.scraped.wait(self._config.last_scrape_s):
            time.sleep(ANSWER_S)

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(PREFIX + name, text, labels or [], registry=self.registry)

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(PREFIX + name, text, labels or [], registry=self.registry)


ANSWER_S = 0.2
"""For the answer to leave, once a scrape has read all metrics."""


def _is_first_rank() -> bool:
    there_are_ranks = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not there_are_ranks or torch.distributed.get_rank() == 0
