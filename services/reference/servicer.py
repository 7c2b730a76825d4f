"""LogprobService: per-token log-probs of given answers."""

from __future__ import annotations

from typing import Any

from rewardplane.v1 import logprob_service_pb2, logprob_service_pb2_grpc
from rewardplane.wire import pack_floats

from ..common.engine import Engine
from ..common.requests import pins_of, read_pairs


class LogprobServicer(logprob_service_pb2_grpc.LogprobServiceServicer):
    """Served by the frozen reference and by policies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ComputeLogprobs(
        self, request: logprob_service_pb2.ComputeLogprobsRequest, context: Any
    ) -> logprob_service_pb2.ComputeLogprobsResponse:
        logprobs, version = await self._engine.logprobs(
            read_pairs(request.pairs),
            temperature=request.temperature if request.HasField("temperature") else 1.0,
            deadline_s=context.time_remaining(),
            pins=pins_of(request),
        )
        return logprob_service_pb2.ComputeLogprobsResponse(
            answer_logprobs=[logprob_service_pb2.AnswerLogprobs(logprobs=pack_floats(one)) for one in logprobs],
            model_version=version,
        )
