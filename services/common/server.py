"""Assembles a server: gRPC on one port, Prometheus metrics on another, one model behind both."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.device_memory import DeviceMemoryCollector

from ..policy.implicit_reward import reference_of
from ..roles import ROLES, services_of
from .access.doorman import Doorman, DoorMetrics
from .access.interceptor import AccessInterceptor
from .background import in_daemon_thread
from .config import ServerConfig
from .engine import Engine
from .follow import find_checkpoint, follow
from .health import HEALTH_SERVICE, Health
from .interceptors import CallInterceptor
from .kserve import add_kserve
from .loading import load_served, read_trusted
from .model_control import ModelControl
from .model_metrics import ModelMetrics
from .receive import ReceiveInterceptor
from .team_model import Leader
from .tls import server_credentials

log = logging.getLogger(__name__)

KSERVE_SERVICE = "inference.GRPCInferenceService"
SEND_S = 2.0
"""How long answers that are computed may take to leave, once all calls are answered."""
MAX_PING_STRIKES = 10
"""Pings less than 10 s apart, with no data between, until a connection is closed with "too_many_pings". gRPC's own 2
would close those of clients that ping every few seconds."""
CONNECTION_GRACE_MS = 600_000
"""How long calls on a connection that was told to reconnect may go on: more than the longest call takes."""


class Server:
    """A server from the opening of its ports to its end. Made on the event loop that runs it."""

    def __init__(self, role: str, model_dir: Path, config: ServerConfig, leader: Leader | None = None) -> None:
        """`leader`: of the processes that hold the model together with this one."""
        if config.reference and role != "policy":
            raise ValueError(f"a reference is given, but a {role} server has no use for one; a policy has")
        if config.follow_seconds and config.model_control_mode == "explicit":
            raise ValueError("either callers say when a checkpoint is loaded (model_control_mode), or follow_seconds")
        self.config = config
        self._leader = leader
        self._credentials = server_credentials(config)
        if config.trusted_keys:
            read_trusted(config.trusted_keys)
        self.health_port: int | None = None
        self.model_dir = Path(model_dir)
        self.registry = CollectorRegistry()
        self.role = ROLES[role]
        self._reference = reference_of(config)
        reference_sums = self._reference.sums if self._reference else None
        name = self.model_dir.resolve().name
        self.engine = Engine(self.role, config, name, self.registry, reference_sums)
        self.registry.register(DeviceMemoryCollector(config.device))
        ProcessCollector(registry=self.registry)
        self._metrics = ModelMetrics(self.registry)
        self._following: asyncio.Task[None] | None = None
        self._health = Health([*(service.name for service in services_of(self.role)), KSERVE_SERVICE])
        self._grpc = grpc.aio.server(
            interceptors=self._interceptors(), options=_options(config), maximum_concurrent_rpcs=config.max_calls
        )
        self._add_servicers()

    def _interceptors(self) -> list[Any]:
        """The first one is the outermost. Raises WrongSetting."""
        counting = CallInterceptor(self.role.name, self.registry)
        receiving = ReceiveInterceptor(self.config.receive_seconds)
        metrics = DoorMetrics(self.registry)
        if self.config.access is None:
            if not (self.config.tls_client_ca or is_loopback(self.config.host)):
                log.warning(
                    "ANYBODY who reaches %s may use this server: it listens beyond this machine without --access and "
                    "without --tls-client-ca",
                    self.config.host,
                )
            return [counting, receiving]
        doorman = Doorman(self.config.access, metrics)
        return [counting, receiving, AccessInterceptor(doorman, lambda: self.engine.name)]

    def _add_servicers(self) -> None:
        for service in services_of(self.role):
            service.add(service.servicer(self.engine), self._grpc)
        add_kserve(self._grpc, self.engine, self._model_control())
        self._health.add_to(self._grpc)
        names = (*self._health.names[1:], HEALTH_SERVICE, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)

    def _model_control(self) -> ModelControl | None:
        if self.config.model_control_mode == "none":
            return None
        return ModelControl(
            self.engine,
            self._health,
            find=lambda: find_checkpoint(self.model_dir),
            serve=self._serve,
            replace=self.replace_model,
        )

    async def open(self) -> None:
        """Opens the ports; health is answered, and says NOT_SERVING. Raises OSError when a port is taken."""
        try:
            self._bind()
        except OSError:
            await self.engine.stop()
            raise
        await self._health.open()
        await self._grpc.start()

    def _bind(self) -> None:
        address = f"{self.config.host}:{self.config.port}"
        try:
            if self._credentials is None:
                self.port = self._grpc.add_insecure_port(address)
            else:
                self.port = self._grpc.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: is another server there?") from error
        if self.config.health_port is not None:
            self.health_port = self._health.bind(f"{self.config.host}:{self.config.health_port}")
        try:
            self._metrics_server, _ = start_http_server(
                self.config.metrics_port, self.config.host.strip("[]"), self.registry
            )
        except OSError as error:
            raise OSError(f"cannot serve metrics on port {self.config.metrics_port}: {error.strerror}") from error
        self.metrics_port = self._metrics_server.server_port

    async def load(self) -> None:
        """Loads the model, then says SERVING. Raises BadCheckpoint."""
        directory = find_checkpoint(self.model_dir)
        await self._serve(directory)
        if self.config.follow_seconds:
            following = follow(self.model_dir, directory, self.config.follow_seconds, self.replace_model)
            self._following = asyncio.create_task(following)
        if self.config.port_file:
            ports = {"port": self.port, "metrics_port": self.metrics_port, "health_port": self.health_port}
            _write_whole(self.config.port_file, json.dumps(ports))

    async def _serve(self, directory: Path) -> None:
        started_s = time.monotonic()
        await self.engine.load(lambda: load_served(self.role, directory, self.config, self._leader))
        self._loaded(started_s)
        await self._health.ready()

    def describe(self) -> str:
        """One line for whoever started the server."""
        version = self.engine.model_version()
        return (
            f"serving {version.model_name} as {self.role.name} ({', '.join(sorted(self.role.capabilities))}) "
            f"on {self.config.host}:{self.port}, digest {version.checkpoint_digest}, "
            f"metrics on http://{self.config.host}:{self.metrics_port}/metrics"
        )

    async def replace_model(self, directory: Path) -> None:
        """Loads another checkpoint beside the one that serves, and swaps them between two batches.

        Raises BadCheckpoint, and then goes on with the old one.
        """
        started_s = time.monotonic()
        try:
            model = await in_daemon_thread(lambda: load_served(self.role, directory, self.config, self._leader))
            self.engine.replace(model)
        except BadCheckpoint:
            self._metrics.load_failures.inc()
            raise
        self._loaded(started_s)

    async def stop(self) -> None:
        """Drains: says NOT_SERVING at once, refuses new calls, lets calls in flight finish in their time."""
        if self._following:
            self._following.cancel()
        await self._health.not_ready()
        drained = await self.engine.drain(self.config.drain_seconds)
        if not drained:
            log.warning("calls in flight after %.0f s are cut off", self.config.drain_seconds)
        await self._grpc.stop(SEND_S if drained else 0)
        await self.engine.stop()
        if self._reference:
            await self._reference.close()
        await asyncio.to_thread(self._metrics_server.shutdown)
        self._metrics_server.server_close()
        await self._health.close()

    def _loaded(self, started_s: float) -> None:
        self._metrics.loaded(self.role.name, self.engine.model, self.config.dtype, started_s)


@asynccontextmanager
async def running_server(role: str, model_dir: Path | str, config: ServerConfig | None = None) -> AsyncIterator[Server]:
    """A server that serves; `.port` and `.metrics_port` are the bound ones. Drains at the end.

    Raises BadCheckpoint and OSError.
    """
    server = Server(role, Path(model_dir), config or ServerConfig())
    await server.open()
    try:
        await server.load()
        yield server
    finally:
        await server.stop()


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", config.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.max_metadata_bytes),  # else some above the limit get through
        ("grpc.max_concurrent_streams", config.max_streams),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", int(1000 * config.handshake_seconds)),
        ("grpc.so_reuseport", 0),  # else a second server on the port would start, and take half of the calls
        ("grpc.max_connection_age_ms", int(1000 * config.max_connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", MAX_PING_STRIKES),
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _write_whole(path: Path, content: str) -> None:
    staging = path.with_name(f".{path.name}.tmp")
    staging.write_text(content)
    staging.replace(path)
