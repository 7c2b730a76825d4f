"""KServe v2 (Open Inference Protocol, with Triton's extensions) for a server's engine."""

from __future__ import annotations

import grpc
from tritonclient.grpc import service_pb2_grpc

from ..engine import Engine
from ..model_control import ModelControl
from .servicer import KServeServicer


def add_kserve(server: grpc.aio.Server, engine: Engine, control: ModelControl | None = None) -> None:
    """Adds `inference.GRPCInferenceService` to a server, beside its other services.

    `control` loads and unloads the model for callers; without it they are refused. The servicer raises the exceptions
    of `faults`; an interceptor of the server turns them into statuses.
    """
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(KServeServicer(engine, control), server)
