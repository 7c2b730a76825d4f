"""The client for programs with an asyncio event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from rewardplane.batches import Send
from rewardplane.calls import Steps
from rewardplane.errors import RewardplaneError
from rewardplane.inputs import PairLike, QuestionLike
from rewardplane.replies import Reply
from rewardplane.results import Generations, Logprobs, ModelInfo, Scores
from rewardplane.retry import Attempts, Deadline
from rewardplane.session import Session
from rewardplane.tracing import Trace, client_span

R = TypeVar("R")


class AsyncClient(Session):
    """`rewardplane.Client` as coroutines, for the event loop of its first call.

    Cancelling a task ends its requests on the server, too.
    """

    async def info(self, *, timeout_s: float | None = None) -> ModelInfo:
        """As Client.info."""
        return await self._run(self._calls.info(), timeout_s)

    async def score(
        self,
        pairs: Iterable[PairLike],
        *,
        expected_checkpoint_digest: str | None = None,
        timeout_s: float | None = None,
    ) -> Scores:
        """As Client.score."""
        return await self._run(self._calls.score(pairs, expected_checkpoint_digest), timeout_s)

    async def logprobs(
        self,
        pairs: Iterable[PairLike],
        *,
        temperature: float = 1.0,
        expected_checkpoint_digest: str | None = None,
        timeout_s: float | None = None,
    ) -> Logprobs:
        """As Client.logprobs."""
        steps = self._calls.logprobs(pairs, temperature, expected_checkpoint_digest)
        return await self._run(steps, timeout_s)

    async def generate(
        self,
        questions: Iterable[QuestionLike],
        *,
        max_answer_tokens: int,
        answers_per_question: int = 1,
        temperature: float = 1.0,
        seed: int | None = None,
        expected_checkpoint_digest: str | None = None,
        timeout_s: float | None = None,
    ) -> Generations:
        """As Client.generate."""
        steps = self._calls.generate(
            questions, answers_per_question, max_answer_tokens, temperature, seed, expected_checkpoint_digest
        )
        return await self._run(steps, timeout_s)

    async def close(self) -> None:
        """As Client.close."""
        for channel in self._close():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self, target: str) -> grpc.aio.Channel:
        credentials = self._security.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(target, self._options)
        return grpc.aio.secure_channel(target, credentials, self._options)

    async def _run(self, steps: Steps[R], timeout_s: float | None) -> R:
        deadline = self._deadline(timeout_s)
        try:
            sends = next(steps)
            while True:
                try:
                    replies = await self._carry(sends, deadline)
                except RewardplaneError as error:
                    sends = steps.throw(error)
                else:
                    sends = steps.send(replies)
        except StopIteration as stop:
            result: R = stop.value
            return result

    async def _carry(self, sends: Sequence[Send], deadline: Deadline) -> list[Reply]:
        """Brings all replies, or raises the first failure and calls back the rest."""
        gate = asyncio.Semaphore(self._max_requests_in_flight)
        if len(sends) == 1:
            return [await self._carry_one(sends[0], deadline, gate)]
        tasks = [asyncio.create_task(self._carry_one(send, deadline, gate)) for send in sends]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _carry_one(self, send: Send, deadline: Deadline, gate: asyncio.Semaphore) -> Reply:
        attempts = self._attempts(deadline, send.first_index)
        async with gate:
            with client_span(send.rpc.path.lstrip("/")) as trace:
                return await self._attempt(send, deadline, attempts, trace)

    async def _attempt(self, send: Send, deadline: Deadline, attempts: Attempts, trace: Trace) -> Reply:
        while True:
            method = self._method(attempts.target, send.rpc)
            own = self._security.metadata()
            metadata = (*own, *trace.metadata(own))
            call = method(send.request, timeout=deadline.remaining_s(), metadata=metadata)
            await _end_of(call)
            try:
                return Reply(await call, attempts.target)
            except grpc.RpcError as error:
                pause_s = attempts.pause_s(error)
            await asyncio.sleep(pause_s)


async def _end_of(call: Any) -> None:
    """Waits until a call has ended; one whose task is cancelled ends on the server, too.

    A task that is cancelled while it waits for the call itself, and call.cancel(), make grpc.aio forget what gRPC's
    core goes on to finish, and it is never freed: 965 bytes a call (grpcio 1.75 to 1.85,
    https://github.com/grpc/grpc/issues/43360). `_cancel` tells the core alone. Calls of interceptors have none.
    """
    ended = asyncio.Event()
    call.add_done_callback(lambda _: ended.set())
    try:
        await ended.wait()
    except asyncio.CancelledError:
        cancel = getattr(call, "_cancel", None)
        if cancel is None:
            call.cancel()
        else:
            cancel("the caller's task was cancelled")
        raise
