"""Puts something around the handlers of RPCs, of whatever kind they are."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from . import faults

Around = Callable[[Any], AbstractAsyncContextManager[None]]
"""Takes the call's context; what it raises on entry ends the call."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


Before = Callable[[Any], None]


class Remembered:
    """What was made of a method's handler, which is the same one for every call but where each gets its own."""

    def __init__(self, make: Callable[[str, Any], Any]) -> None:
        """`make` takes the method's full name and its handler."""
        self._make = make
        self._known: dict[str, tuple[Any, Any]] = {}

    def __call__(self, method: str, handler: Any) -> Any:
        known = self._known.get(method)
        if known is None or known[0] is not handler:
            known = self._known[method] = handler, self._make(method, handler)
        return known[1]


class _Unreadable:
    """Stands for a request whose bytes are no message of its type: gRPC's own answer would be UNKNOWN."""


def wrapped(handler: Any, around: Around, before_each: Before | None = None) -> Any:
    """The handler, whose calls happen inside `around`. Bytes that are no request raise InvalidRequest there.

    `before_each` takes the call's context before each message of a stream is handled; what it raises ends the call.
    """
    make, behavior = _kind(handler)
    return make(
        _inside(behavior, around, before_each),
        request_deserializer=_tolerant(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def refusing(error: Exception) -> Any:
    """A handler that raises the error before the request is read, however large it is."""

    async def refuse(requests: Any, context: Any) -> None:
        raise error

    return grpc.stream_stream_rpc_method_handler(refuse)


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Unreadable()

    return read


def readable(request: Any) -> Any:
    """The request. Raises InvalidRequest (MALFORMED_REQUEST) where it is none."""
    if isinstance(request, _Unreadable):
        raise faults.malformed_request()
    return request


def _all_readable(request: Any, before_each: Callable[[], None] | None = None) -> Any:
    """A request, or the iterator of several. Raises InvalidRequest (MALFORMED_REQUEST)."""
    return _each_readable(request, before_each) if isinstance(request, AsyncIterator) else readable(request)


async def _each_readable(requests: AsyncIterator[Any], before_each: Callable[[], None] | None) -> AsyncIterator[Any]:
    async for request in requests:
        if before_each is not None:
            before_each()
        yield readable(request)


def _inside(behavior: Callable[..., Any], around: Around, before_each: Before | None) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behavior):

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with around(context):
                async for response in behavior(
                    _all_readable(request, before_each and partial(before_each, context)), context
                ):
                    yield response

        return stream

    async def call(request: Any, context: Any) -> Any:
        async with around(context):
            return await behavior(_all_readable(request, before_each and partial(before_each, context)), context)

    return call


def _kind(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
