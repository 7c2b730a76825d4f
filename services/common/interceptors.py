"""What happens around every RPC: faults become google.rpc.Status, and all of it is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry, Counter, Histogram

from rewardplane.errors import ServerFault
from rewardplane.tracing import parent_of, span

from . import faults
from .batch_metrics import SECONDS
from .handlers import Continuation, Remembered, refusing, wrapped

log = logging.getLogger(__name__)


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Turns what handlers raise into a status with details; counts calls by method and code."""

    def __init__(self, role: str, registry: CollectorRegistry) -> None:
        self._role = role
        self._counted = Remembered(self._count)
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
        if handler is None:
            # Labels come from a fixed list: whatever a caller makes up is one series.
            return self._count("/unknown/unknown", refusing(faults.not_served("such method", self._role)))
        return self._counted(details.method, handler)

    def _count(self, path: str, handler: Any) -> Any:
        _, service, method = path.split("/")
        started, handling = self._started.labels(service, method), self._handling.labels(service, method)
        return wrapped(handler, partial(self._call, service, method, started, handling))

    @asynccontextmanager
    async def _call(
        self, service: str, method: str, started: Counter, handling: Histogram, context: Any
    ) -> AsyncIterator[None]:
        started.inc()
        started_s = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            parent = parent_of(context.invocation_metadata() or ())
            with span(f"{service}/{method}", kind="server", parent=parent), _logged(service, method):
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
            code = grpc.StatusCode.INTERNAL
            await _abort(context, faults.unexpected())
        finally:
            self._handled.labels(service, method, code.name).inc()
            handling.observe(time.monotonic() - started_s)


@contextmanager
def _logged(service: str, method: str) -> Iterator[None]:
    """What a caller may have done wrong is for the debug level; its text is not, as it may quote the request."""
    try:
        yield
    except faults.Fault as fault:
        level = logging.ERROR if isinstance(fault, ServerFault) else logging.DEBUG
        log.log(level, "%s/%s ended with %s %s", service, method, fault.code.name, fault.reason)
        raise
    except (grpc.aio.AbortError, asyncio.CancelledError):
        raise
    except Exception:
        log.exception("%s/%s failed", service, method)
        raise


async def _abort(context: Any, fault: faults.Fault) -> None:
    """Ends the call, and returns: once the handler has ended, too, grpc.aio raises what it keeps on the call.

    Raised through the handler, that would hold all frames on the way, which hold the call: memory that only a full
    garbage collection frees, and much of it under a flood of calls that are refused.
    """
    status = rpc_status.to_status(faults.to_status(fault))
    try:
        await context.abort(status.code, status.details, status.trailing_metadata)
    except grpc.aio.AbortError as kept:
        kept.__traceback__ = kept.__context__ = fault.__traceback__ = None
