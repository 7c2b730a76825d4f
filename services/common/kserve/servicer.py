"""The second servicer on a server's port: KServe v2 (Open Inference Protocol) with Triton's extensions.

The messages are Triton's, as tritonclient brings them: KServe's own file has the same names for other bytes,
and two copies of `inference.*` cannot live in one process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from rewardplane.errors import RewardplaneError, Unimplemented

from ..engine import Engine
from ..model_control import ModelControl
from . import metadata
from .inference import Caller, Inference
from .repository import Repository
from .settings import LogSettings, TraceSettings, is_local
from .shared_memory import Regions, check_local
from .signature import check_model, kserve_version, parse_version
from .statistics import Statistics
from .streaming import stream_infer

Context = grpc.aio.ServicerContext[Any, Any]

GRPC_ERROR_HEADER = ("triton_grpc_error", "true")


class KServeServicer:
    """All calls of `inference.GRPCInferenceService`, for one engine."""

    def __init__(self, engine: Engine, control: ModelControl | None) -> None:
        self._engine = engine
        self._repository = Repository(engine, control)
        self._regions = Regions()
        self._statistics = Statistics()
        self._inference = Inference(engine, self._regions, self._statistics)
        self._trace = TraceSettings()
        self._log = LogSettings()

    # Health and metadata.

    async def ServerLive(self, request: Any, context: Context) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:
        return service_pb2.ServerReadyResponse(ready=self._repository.server_is_ready)

    async def ModelReady(self, request: Any, context: Context) -> Any:
        """An unknown model or version is not ready; that is no error."""
        wanted = parse_version(request.version)
        ready = (
            self._engine.ready
            and request.name == self._engine.name
            and (wanted is None or str(wanted) == kserve_version(self._engine.model_version()))
        )
        return service_pb2.ModelReadyResponse(ready=ready)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        return metadata.server_metadata(explicit_control=self._repository.explicit)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        check_model(self._engine, request.name, request.version)
        return metadata.model_metadata(self._engine)

    async def ModelConfig(self, request: Any, context: Context) -> Any:
        check_model(self._engine, request.name, request.version)
        return metadata.model_config(self._engine)

    # Inference.

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        return await self._inference.infer(request, _caller(context))

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        end_at_fault = GRPC_ERROR_HEADER in [(key, value) for key, value in context.invocation_metadata() or ()]

        async def infer(request: Any) -> Any:
            return await self._inference.infer(request, _caller(context))

        max_bytes = self._engine.config.max_request_bytes
        async for response in stream_infer(requests, infer, end_at_fault=end_at_fault, max_bytes=max_bytes):
            yield response

    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        return self._statistics.answer(request, self._engine)

    # The model repository.

    async def RepositoryIndex(self, request: Any, context: Context) -> Any:
        return self._repository.index(request)

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        return await self._repository.load(request)

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        return await self._repository.unload(request)

    # Settings.

    async def TraceSetting(self, request: Any, context: Context) -> Any:
        return self._trace.update(request, "" if self._engine.unloaded else self._engine.name)

    async def LogSettings(self, request: Any, context: Context) -> Any:
        return self._log.update(request, peer_is_local=is_local(context.peer()))

    # Shared memory.

    async def SystemSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        check_local(is_local(context.peer()))
        return self._regions.status(request)

    async def SystemSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        check_local(is_local(context.peer()))
        return self._regions.register(request)

    async def SystemSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        check_local(is_local(context.peer()))
        return self._regions.unregister(request)

    async def CudaSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        if request.name:
            raise RewardplaneError(
                f"Unable to find cuda shared memory region: '{request.name}'",
                reason="UNKNOWN_REGION",
                code=grpc.StatusCode.NOT_FOUND,
            )
        return service_pb2.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        raise Unimplemented(
            "CUDA shared memory is not supported: send the tensors in the request or in system shared memory",
            reason="NOT_SUPPORTED",
        )

    async def CudaSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        return service_pb2.CudaSharedMemoryUnregisterResponse()


def _caller(context: Context) -> Caller:
    return Caller(is_local=is_local(context.peer()), time_left_s=context.time_remaining())
