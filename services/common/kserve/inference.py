"""ModelInfer: the same pairs, engine and numbers as rewardplane.v1, in tensors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from rewardplane.v1 import types_pb2
from rewardplane.wire import MalformedPair, Pair

from ..engine import Engine
from ..queue_wait import measured_wait
from .inputs import read_inputs, read_pairs
from .outputs import Results, build_response, pad_logprobs, read_outputs
from .parameters import Parameters, read_parameters
from .shared_memory import Regions
from .signature import (
    ANSWER_IDS,
    LOGPROB_LENGTHS,
    LOGPROBS,
    SCORE,
    check_model,
    kserve_version,
    outputs,
    parse_version,
    unknown_version,
)
from .statistics import Statistics, Timing
from .tensors import TensorSpec

Answer = tuple[Results, types_pb2.ModelVersion]
"""Arrays, and the weights that they are of."""


@dataclass(frozen=True)
class Caller:
    """What a request does not say itself."""

    is_local: bool
    time_left_s: float | None
    """Until the deadline of the call; None has none."""


class Inference:
    """Answers inference requests for one engine."""

    def __init__(self, engine: Engine, regions: Regions, statistics: Statistics) -> None:
        self._engine = engine
        self._regions = regions
        self._statistics = statistics

    async def infer(self, request: Any, caller: Caller) -> Any:
        """Gives the ModelInferResponse. Raises NOT_FOUND, InvalidRequest, Unimplemented, and what the
        engine raises."""
        served = check_model(self._engine, request.model_name, request.model_version)
        timing = Timing()
        try:
            response, pairs = await self._infer(request, caller, timing)
        except BaseException:
            self._statistics.count_failure(served, timing)
            raise
        self._statistics.count_success(response.model_version, pairs, timing)
        return response

    async def _infer(self, request: Any, caller: Caller, timing: Timing) -> tuple[Any, int]:
        parameters = read_parameters(request.parameters)
        wanted = read_outputs(request, outputs(self._engine), self._regions, caller.is_local)
        tensors = read_inputs(
            request,
            self._regions,
            max_pairs=self._engine.config.max_request_pairs,
            peer_is_local=caller.is_local,
        )
        pairs = read_pairs(tensors, request.model_name)
        timing.input_done()
        limits = [limit for limit in (caller.time_left_s, parameters.timeout_s) if limit is not None]
        width = tensors[ANSWER_IDS.name].shape[1] if ANSWER_IDS.name in tensors else 0
        with measured_wait() as wait:
            results, version = await self._compute(
                pairs, {w.spec for w in wanted}, parameters, deadline_s=min(limits, default=None), width=width
            )
        timing.inference_done(wait.seconds)
        requested = parse_version(request.model_version)
        if requested is not None and str(requested) != kserve_version(version):
            raise unknown_version(request.model_name, requested)  # swapped while the request was under way
        response = build_response(request, wanted, results, version)
        timing.output_done()
        return response, len(pairs)

    async def _compute(
        self,
        pairs: Sequence[Pair | MalformedPair],
        wanted: set[TensorSpec],
        parameters: Parameters,
        *,
        deadline_s: float | None,
        width: int,
    ) -> Answer:
        """The arrays of at least the wanted outputs, all of one set of weights; log-probs have at least `width`
        columns."""
        expires_s = None if deadline_s is None else time.monotonic() + deadline_s
        while True:
            left_s = None if expires_s is None else expires_s - time.monotonic()
            calls = []
            if SCORE in wanted:
                calls.append(self._score(pairs, parameters, left_s))
            if wanted & {LOGPROBS, LOGPROB_LENGTHS}:
                calls.append(self._logprobs(pairs, parameters, left_s, width))
            answers = await _all_or_first_fault(calls)
            # New weights may come between the two; a response names one version, so both are computed again.
            if len({version.checkpoint_digest for _, version in answers}) == 1:
                results = {name: array for arrays, _ in answers for name, array in arrays.items()}
                return results, answers[0][1]

    async def _score(
        self, pairs: Sequence[Pair | MalformedPair], parameters: Parameters, left_s: float | None
    ) -> Answer:
        scores, version = await self._engine.score(pairs, deadline_s=left_s, pins=parameters.pins)
        return {SCORE.name: scores[:, None]}, version

    async def _logprobs(
        self, pairs: Sequence[Pair | MalformedPair], parameters: Parameters, left_s: float | None, width: int
    ) -> Answer:
        logprobs, version = await self._engine.logprobs(
            pairs, temperature=parameters.temperature, deadline_s=left_s, pins=parameters.pins
        )
        return pad_logprobs(logprobs, width), version


async def _all_or_first_fault(calls: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Runs calls side by side: their pairs are the same, so one batch computes them once. When one fails, or
    the caller goes, the others are cancelled."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
