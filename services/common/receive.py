"""Bounds the time in which a request has to arrive."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from . import faults
from .handlers import Continuation, Remembered, readable


class ReceiveInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Calls of one request must bring it in time; the messages of a stream may come when they like.

    grpc.aio reads the request of such a call before it asks the handler, and waits as long as the connection lasts. A
    handler of streams, which is the same on the wire, reads it itself.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bounded = Remembered(self._bound)

    async def intercept_service(self, continuation: Continuation, details: Any) -> Any:
        handler = await continuation(details)
        return handler if handler is None else self._bounded(details.method, handler)

    def _bound(self, method: str, handler: Any) -> Any:
        if handler.request_streaming:
            return handler
        if handler.response_streaming:
            make, behavior = grpc.stream_stream_rpc_method_handler, handler.unary_stream
        else:
            make, behavior = grpc.stream_unary_rpc_method_handler, handler.unary_unary
        return make(
            self._reading(behavior),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _reading(self, behavior: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isasyncgenfunction(behavior):

            async def stream(_: object, context: Any) -> AsyncIterator[Any]:
                async for response in behavior(await self._only(context), context):
                    yield response

            return stream

        async def call(_: object, context: Any) -> Any:
            return await behavior(await self._only(context), context)

        return call

    async def _only(self, context: Any) -> Any:
        """The request, not from its iterator: to end one that has more to give takes asyncio a task of its own.

        Raises DeadlineExceeded, and InvalidRequest where the caller ends without a request.
        """
        try:
            async with asyncio.timeout(self._seconds):
                request = await context.read()
        except TimeoutError:
            raise faults.request_too_slow(self._seconds) from None
        if request is grpc.aio.EOF:  # type: ignore[attr-defined]  # unknown to the stubs
            raise faults.malformed_request()
        return readable(request)
