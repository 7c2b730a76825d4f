"""ModelService: what is served, and how much is accepted at once."""

from __future__ import annotations

from typing import Any

from rewardplane.v1 import model_service_pb2, model_service_pb2_grpc

from .engine import Engine


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Served by every deployment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def GetModelInfo(
        self, request: model_service_pb2.GetModelInfoRequest, context: Any
    ) -> model_service_pb2.GetModelInfoResponse:
        return model_service_pb2.GetModelInfoResponse(model_info=self._engine.info())
