"""What happens around every RPC: faults become google.rpc.Status, and all of it is counted."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, Counter, Histogram

from . import faults
from .batch_metrics import SECONDS
from .callers import caller, identity_of

log = logging.getLogger(__name__)

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Turns what handlers raise into a status with details; counts calls by method and code."""

    def __init__(self, role: str, registry: CollectorRegistry) -> None:
        self._role = role
        method = ["grpc_service", "grpc_method"]
        self._started = Counter("grpc_server_started_total", "RPCs that began", method, registry=registry)
        self._handled = Counter(
            "grpc_server_handled_total",
            "RPCs that ended, by status",
            [*method, "grpc_code"],
            registry=registry,
        )
        self._handling = Histogram(
            "grpc_server_handling_seconds", "Duration of RPCs", method, buckets=SECONDS, registry=registry
        )

    async def intercept_service(self, continuation: Continuation, details: Any) -> Any:
        handler = await continuation(details)
        _, service, method = details.method.split("/")
        if handler is None:
            # Labels come from a fixed list: whatever a caller makes up is one series.
            return grpc.unary_unary_rpc_method_handler(self._observe(self._unimplemented, "unknown", "unknown"))
        make, behavior = _kind(handler)
        return make(
            self._observe(behavior, service, method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _unimplemented(self, request: Any, context: Any) -> None:
        raise faults.not_served("such method", self._role)

    def _observe(self, behavior: Callable[..., Any], service: str, method: str) -> Callable[..., Any]:
        if inspect.isasyncgenfunction(behavior):

            async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
                async with self._call(service, method, context):
                    async for response in behavior(request, context):
                        yield response

            return stream

        async def call(request: Any, context: Any) -> Any:
            async with self._call(service, method, context):
                return await behavior(request, context)

        return call

    @asynccontextmanager
    async def _call(self, service: str, method: str, context: Any) -> AsyncIterator[None]:
        self._started.labels(service, method).inc()
        caller.set(identity_of(context))
        started_s = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            yield
        except faults.Fault as fault:
            code = fault.code
            await _abort(context, fault)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except asyncio.CancelledError:
            late = (left_s := context.time_remaining()) is not None and left_s <= 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception:  # the last resort: callers get a reason and no internals
            log.exception("%s/%s failed", service, method)
            code = grpc.StatusCode.INTERNAL
            await _abort(context, faults.unexpected())
        finally:
            self._handled.labels(service, method, code.name).inc()
            self._handling.labels(service, method).observe(time.monotonic() - started_s)


async def _abort(context: Any, fault: faults.Fault) -> None:
    status = rpc_status.to_status(faults.to_status(fault))
    await context.abort(status.code, status.details, status.trailing_metadata)


def _kind(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
