"""The statistics extension: what perf_analyzer and get_inference_statistics read.

Only inference requests of KServe v2 are counted here; Prometheus has those of both protocols, and forward
passes, which mix pairs of many requests. So an execution here is a request; its queue time ends when the first
forward pass with one of its pairs begins, and compute_infer is what else lies between reading the tensors and
writing the results.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest

from ..engine import Engine
from .signature import kserve_version, parse_version


class Timing:
    """The clock of one request, in nanoseconds."""

    def __init__(self) -> None:
        self._started_ns = self._last_ns = time.perf_counter_ns()
        self.input_ns = self.queue_ns = self.inference_ns = self.output_ns = 0

    def input_done(self) -> None:
        self.input_ns = self._lap()

    def inference_done(self, queued_s: float) -> None:
        lap_ns = self._lap()
        self.queue_ns = min(int(queued_s * 1e9), lap_ns)
        self.inference_ns = lap_ns - self.queue_ns

    def output_done(self) -> None:
        self.output_ns = self._lap()

    @property
    def total_ns(self) -> int:
        return time.perf_counter_ns() - self._started_ns

    def _lap(self) -> int:
        before, self._last_ns = self._last_ns, time.perf_counter_ns()
        return self._last_ns - before


@dataclass
class Duration:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def to_proto(self) -> Any:
        return service_pb2.StatisticDuration(count=self.count, ns=self.ns)


@dataclass
class Counts:
    """What has been counted for one version."""

    last_inference_ms: int = 0
    pairs: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


class Statistics:
    """Counts for each version since the server started; like Triton, it tells of the served one only."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = defaultdict(Counts)

    def count_success(self, version: str, pairs: int, timing: Timing) -> None:
        counts = self._counts[version]
        counts.last_inference_ms = time.time_ns() // 1_000_000
        counts.pairs += pairs
        counts.success.add(timing.total_ns)
        counts.queue.add(timing.queue_ns)
        counts.compute_input.add(timing.input_ns)
        counts.compute_infer.add(timing.inference_ns)
        counts.compute_output.add(timing.output_ns)

    def count_failure(self, version: str, timing: Timing) -> None:
        self._counts[version].fail.add(timing.total_ns)

    def answer(self, request: Any, engine: Engine) -> Any:
        """Answers a ModelStatisticsRequest; no name means all models. Raises InvalidRequest, as Triton does,
        and Unavailable while the model loads."""
        if request.name and request.name != engine.name:
            raise InvalidRequest(f"requested model '{request.name}' is not available", reason="UNKNOWN_MODEL")
        if engine.unloaded:
            self._counts.clear()  # a model that is loaded again counts from 0
            if request.name:
                raise InvalidRequest(f"requested model '{request.name}' is not available", reason="UNKNOWN_MODEL")
            return service_pb2.ModelStatisticsResponse()
        version = kserve_version(engine.model_version())
        wanted = parse_version(request.version)
        if wanted is not None and str(wanted) != version:
            raise InvalidRequest(
                f"requested model version is not available for model '{request.name}'",
                reason="UNKNOWN_VERSION",
            )
        counts = self._counts[version]
        statistics = service_pb2.ModelStatistics(
            name=engine.name,
            version=version,
            last_inference=counts.last_inference_ms,
            inference_count=counts.pairs,
            execution_count=counts.success.count,
            inference_stats=service_pb2.InferStatistics(
                success=counts.success.to_proto(),
                fail=counts.fail.to_proto(),
                queue=counts.queue.to_proto(),
                compute_input=counts.compute_input.to_proto(),
                compute_infer=counts.compute_infer.to_proto(),
                compute_output=counts.compute_output.to_proto(),
                cache_hit=Duration().to_proto(),
                cache_miss=Duration().to_proto(),
            ),
        )
        return service_pb2.ModelStatisticsResponse(model_stats=[statistics])
