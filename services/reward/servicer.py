"""ScoringService: scores of question-answer pairs."""

from __future__ import annotations

from typing import Any

from rewardplane.v1 import scoring_service_pb2, scoring_service_pb2_grpc

from ..common.engine import Engine
from ..common.requests import pins_of, read_pairs


class ScoringServicer(scoring_service_pb2_grpc.ScoringServiceServicer):
    """Served by reward models and by policies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ScoreAnswers(
        self, request: scoring_service_pb2.ScoreAnswersRequest, context: Any
    ) -> scoring_service_pb2.ScoreAnswersResponse:
        scores, version = await self._engine.score(
            read_pairs(request.pairs), deadline_s=context.time_remaining(), pins=pins_of(request)
        )
        return scoring_service_pb2.ScoreAnswersResponse(scores=scores, model_version=version)
