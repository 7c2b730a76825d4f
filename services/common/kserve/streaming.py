"""ModelStreamInfer: many inference requests on one stream, answered in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tritonclient.grpc import service_pb2

from ..faults import Fault

MAX_IN_FLIGHT = 256
"""Requests of one stream that are under way; the next one is read when the oldest is answered."""

Infer = Callable[[Any], Awaitable[Any]]
"""Takes a ModelInferRequest and gives its ModelInferResponse, or raises a Fault."""


class _Room:
    """What one stream may have under way: so many requests, of so many bytes, or one of any size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: deque[int] = deque()  # in the order of the answers
        self._freed = asyncio.Event()

    async def enter(self, size_bytes: int) -> None:
        while self._sizes and (len(self._sizes) >= MAX_IN_FLIGHT or sum(self._sizes) + size_bytes > self._max_bytes):
            self._freed.clear()
            await self._freed.wait()
        self._sizes.append(size_bytes)

    def leave(self) -> None:
        self._sizes.popleft()
        self._freed.set()


async def stream_infer(
    requests: AsyncIterator[Any], infer: Infer, *, end_at_fault: bool, max_bytes: int
) -> AsyncIterator[Any]:
    """Gives a ModelStreamInferResponse for each request, in their order; the requests run side by side.

    A request that fails is answered by its `error_message`, and the stream goes on; with `end_at_fault` (the
    header triton_grpc_error) the Fault is raised in its place. Further requests are read when those under way have
    less than `max_bytes`.
    """
    started: asyncio.Queue[tuple[str, asyncio.Future[Any]] | None] = asyncio.Queue()
    room = _Room(max_bytes)

    async def start_all() -> None:
        try:
            async for request in requests:
                await room.enter(request.ByteSize())
                started.put_nowait((request.id, asyncio.ensure_future(infer(request))))
        finally:
            started.put_nowait(None)

    reader = asyncio.create_task(start_all())
    response: asyncio.Future[Any] | None = None
    try:
        while (item := await started.get()) is not None:
            request_id, response = item
            try:
                yield _answer(await response)
            except Fault as fault:
                if end_at_fault:
                    raise
                yield _error(request_id, fault)
            room.leave()
        await reader  # raises what broke the stream of requests
    finally:
        await _abandon(reader, response, started)


def _answer(response: Any) -> Any:
    # There is one response a request, so each is the last; clients of decoupled models count on being told.
    response.parameters["triton_final_response"].bool_param = True
    return service_pb2.ModelStreamInferResponse(infer_response=response)


def _error(request_id: str, fault: Fault) -> Any:
    answer = service_pb2.ModelStreamInferResponse(error_message=fault.message)
    answer.infer_response.id = request_id
    return answer


async def _abandon(
    reader: asyncio.Task[None],
    response: asyncio.Future[Any] | None,
    started: asyncio.Queue[tuple[str, asyncio.Future[Any]] | None],
) -> None:
    """Cancels what is still under way: the caller has gone, or the stream has failed."""
    left: list[asyncio.Future[Any]] = [reader] if response is None else [reader, response]
    while not started.empty():
        item = started.get_nowait()
        if item is not None:
            left.append(item[1])
    for future in left:
        future.cancel()
    await asyncio.gather(*left, return_exceptions=True)
