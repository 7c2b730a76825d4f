"""Puts something around the handlers of RPCs, of whatever kind they are."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from . import faults

Around = Callable[[Any], AbstractAsyncContextManager[None]]
"""Takes the call's context; what it raises on entry ends the call."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class _Unreadable:
    """Stands for a request whose bytes are no message of its type: gRPC's own answer would be UNKNOWN."""


def wrapped(handler: Any, around: Around) -> Any:
    """The handler, whose calls happen inside `around`. Bytes that are no request raise InvalidRequest there."""
    make, behavior = _kind(handler)
    return make(
        _inside(behavior, around),
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


def _readable(request: Any) -> Any:
    """A request, or the iterator of several. Raises InvalidRequest (MALFORMED_REQUEST)."""
    if isinstance(request, _Unreadable):
        raise faults.malformed_request()
    return _each_readable(request) if isinstance(request, AsyncIterator) else request


async def _each_readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def _inside(behavior: Callable[..., Any], around: Around) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behavior):

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with around(context):
                async for response in behavior(_readable(request), context):
                    yield response

        return stream

    async def call(request: Any, context: Any) -> Any:
        async with around(context):
            return await behavior(_readable(request), context)

    return call


def _kind(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
