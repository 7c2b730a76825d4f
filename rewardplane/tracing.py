"""Which request a log line or a span belongs to, carried from caller to server in its metadata.

The header is W3C's `traceparent` (https://www.w3.org/TR/trace-context/), with a request id beside it. Both work without
any other package; with OpenTelemetry (the extra `otel`) spans are its own, below the caller's if there is one.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

TRACEPARENT, REQUEST_ID = "traceparent", "x-request-id"
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_GOOD_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_ids = random.Random()  # not the program's own numbers
if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_ids.seed)

Kind = Literal["internal", "client", "server"]
Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Trace:
    """Where something happens: lower-case hex, as W3C has it."""

    trace_id: str
    span_id: str
    request_id: str
    """Of the call, from the caller's first try to the server's log; "" outside of one."""

    def metadata(self, given: Metadata = ()) -> tuple[tuple[str, str], ...]:
        """What a request carries; what the caller has `given` of it stays as it is."""
        ours = ((TRACEPARENT, f"00-{self.trace_id}-{self.span_id}-01"), (REQUEST_ID, self.request_id))
        there = {key.lower() for key, _ in given}
        return tuple((key, value) for key, value in ours if key not in there)


def _opentelemetry_api() -> Any:
    """None without the extra."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace


otel = _opentelemetry_api()
_current: ContextVar[Trace | None] = ContextVar("rewardplane_trace", default=None)


def current() -> Trace | None:
    """Of this thread or task."""
    return _current.get()


def new_request_id() -> str:
    return _hex_id(16)


def _hex_id(size: int) -> str:
    """Of so many bytes. It is a name and no secret: to ask the system for it takes longer than all else here."""
    return f"{_ids.getrandbits(8 * size):0{2 * size}x}"


def parent_of(metadata: Metadata) -> Trace:
    """Where a request comes from. What is missing or malformed is made up: logs take no text of a caller's choice."""
    found = {key: value for key, value in metadata if isinstance(value, str)}
    request_id = found.get(REQUEST_ID, "")
    if not _GOOD_ID.fullmatch(request_id):
        request_id = new_request_id()
    match = _TRACEPARENT.fullmatch(found.get(TRACEPARENT, ""))
    trace_id, span_id = match.groups() if match else (_hex_id(16), "")
    return Trace(trace_id, span_id, request_id)


@contextmanager
def span(name: str, *, kind: Kind = "internal", parent: Trace | None = None, request_id: str = "") -> Iterator[Trace]:
    """Around a piece of work, below `parent` or what goes on already; a request id is inherited unless given."""
    above = parent or current()
    request_id = request_id or (above.request_id if above else "")
    with _opentelemetry(name, kind, parent, request_id) as ids:
        trace_id, span_id = ids or (above.trace_id if above else _hex_id(16), _hex_id(8))
        trace = Trace(trace_id, span_id, request_id)
        token = _current.set(trace)
        try:
            yield trace
        finally:
            _current.reset(token)


@contextmanager
def client_span(name: str) -> Iterator[Trace]:
    """Around one request of a client, all of its attempts included."""
    above = current()
    request_id = (above.request_id if above else "") or new_request_id()
    with span(name, kind="client", request_id=request_id) as trace:
        yield trace


def record_span(name: str, began_s: float, ended_s: float) -> None:
    """A piece of work that is over, below what goes on; times are those of time.monotonic()."""
    if otel is None or not otel.get_current_span().is_recording():
        return
    offset_ns = time.time_ns() - time.monotonic_ns()
    began = otel.get_tracer("rewardplane").start_span(name, start_time=offset_ns + int(began_s * 1e9))
    began.end(end_time=offset_ns + int(ended_s * 1e9))


@contextmanager
def _opentelemetry(name: str, kind: Kind, parent: Trace | None, request_id: str) -> Iterator[tuple[str, str] | None]:
    """Gives trace and span id, or None where nobody records spans."""
    if otel is None or isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider):  # stands for none
        yield None
        return
    attributes = {"rewardplane.request_id": request_id} if request_id else {}
    tracer, kinds = otel.get_tracer("rewardplane"), otel.SpanKind
    with tracer.start_as_current_span(
        name, context=_remote(parent), kind=kinds[kind.upper()], attributes=attributes
    ) as started:
        if started.is_recording():
            context = started.get_span_context()
            yield f"{context.trace_id:032x}", f"{context.span_id:016x}"
        else:
            yield None


def _remote(parent: Trace | None) -> Any:
    """OpenTelemetry's context of a caller elsewhere; None is what goes on here."""
    if parent is None or not parent.span_id:
        return None
    flags = otel.TraceFlags(otel.TraceFlags.SAMPLED)
    context = otel.SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return otel.set_span_in_context(otel.NonRecordingSpan(context))
