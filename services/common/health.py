"""What probes ask: whether the process answers, and whether the model does."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HEALTH_SERVICE = "grpc.health.v1.Health"
ALIVE = "rewardplane.alive"
"""SERVING from the opening of the ports to the end: while weights load, and while a server drains. For probes that
kill what does not answer; they must not ask for readiness, which a server may lack for good reasons."""


class Health:
    """`grpc.health.v1`, on the port of the services and, where probes cannot reach that one, on its own."""

    def __init__(self, services: Sequence[str]) -> None:
        self.names = ["", *services]
        """What says SERVING when the model is loaded and warm; "" is the server as a whole."""
        self._servicer = HealthServicer()
        self._own: grpc.aio.Server | None = None
        self._ended = False

    def add_to(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def bind(self, address: str) -> int:
        """Answers, in plain text, on a port of its own as well, which it gives. Raises OSError when it is taken."""
        self._own = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.add_to(self._own)
        try:
            return self._own.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot answer health checks on {address}: is another server there?") from error

    async def open(self) -> None:
        """Alive, and not ready."""
        await self._servicer.set(ALIVE, SERVING)
        await self._set(NOT_SERVING)
        if self._own is not None:
            await self._own.start()

    async def ready(self) -> None:
        if not self._ended:
            await self._set(SERVING)

    async def not_serving(self) -> None:
        """Until it is ready again; still alive."""
        await self._set(NOT_SERVING)

    async def not_ready(self) -> None:
        """From now on, whatever happens; still alive."""
        self._ended = True
        await self._set(NOT_SERVING)

    async def close(self) -> None:
        if self._own is not None:
            await self._own.stop(None)

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in self.names:
            await self._servicer.set(name, status)
