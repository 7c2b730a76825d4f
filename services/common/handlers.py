"""Puts something around the handlers of RPCs, of whatever kind they are."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

Around = Callable[[Any], AbstractAsyncContextManager[None]]
"""Takes the call's context; what it raises on entry ends the call."""
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


def wrapped(handler: Any, around: Around) -> Any:
    """The handler, whose calls happen inside `around`."""
    make, behavior = _kind(handler)
    return make(
        _inside(behavior, around),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def refusing(error: Exception) -> Any:
    """A handler that raises the error before the request is read, however large it is."""

    async def refuse(requests: Any, context: Any) -> None:
        raise error

    return grpc.stream_stream_rpc_method_handler(refuse)


def _inside(behavior: Callable[..., Any], around: Around) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behavior):

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with around(context):
                async for response in behavior(request, context):
                    yield response

        return stream

    async def call(request: Any, context: Any) -> Any:
        async with around(context):
            return await behavior(request, context)

    return call


def _kind(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary
