"""Mixed load against two replicas, one of which is killed again and again; every answer is checked.

Texts, token ids and KServe requests by callers that wait for their answers; floods; callers that hang up; and in a
fifth of all requests a pair that is wrong.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from rewardplane import AsyncClient
from rewardplane.errors import InvalidRequest, RewardplaneError, Unavailable
from rewardplane.retry import RetryPolicy
from rewardplane.wire import Pair, TextPair, TokenPair

TOLERANCE = 1e-5
BAD_SHARE = 0.2
TIMEOUT_S = 60.0
INFER = "/inference.GRPCInferenceService/ModelInfer"
BAD_IDS = (TokenPair([320], [3]), TokenPair([3], [-1]), TokenPair([3], [4] * 400))
BAD_TEXTS = (TextPair("", ""), TextPair("Was it good?", "yes " * 400))


@dataclass(frozen=True)
class Known:
    """A pair in two forms, and its score by transformers itself, in float64 and alone."""

    text: TextPair
    tokens: TokenPair
    score: float


@dataclass
class Tally:
    """What the callers saw."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that were not their request's, and errors that nothing explains."""
    largest_error: float = 0.0

    @property
    def requests(self) -> int:
        return sum(n for what, n in self.counts.items() if what != "pairs checked")

    def check(self, caller: str, scores: Sequence[float], expected: Sequence[float]) -> None:
        self.counts[f"{caller}: answered"] += 1
        self.counts["pairs checked"] += len(expected)
        error = float(np.abs(np.subtract(scores, expected)).max()) if len(scores) == len(expected) else float("inf")
        self.largest_error = max(self.largest_error, error)
        if error > TOLERANCE:
            self.wrong.append(f"{caller}: {list(scores)} in place of {list(expected)}")


class Soak:
    """The callers of two replicas."""

    def __init__(self, targets: Sequence[str], known: Sequence[Known], model_name: str, seed: int) -> None:
        self.tally = Tally()
        self._targets = list(targets)
        self._known = known
        self._model_name = model_name
        self._rng = random.Random(seed)
        self._until_s = 0.0

    async def run(self, seconds: float, *, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Calls for so long; `meanwhile` runs beside it, and is waited for."""
        self._until_s = time.monotonic() + seconds
        client = AsyncClient(self._targets, timeout_s=TIMEOUT_S)
        once = AsyncClient(self._targets, timeout_s=TIMEOUT_S, retry=RetryPolicy(max_attempts=1))
        channels = [grpc.aio.insecure_channel(target) for target in self._targets]
        callers: list[Coroutine[Any, Any, None]] = [
            *(self._repeat(self._ask_rewardplane, client, "text") for _ in range(3)),
            *(self._repeat(self._ask_rewardplane, client, "tokens") for _ in range(3)),
            *(self._repeat(self._ask_kserve, channels) for _ in range(3)),
            *(self._repeat(self._hang_up, client) for _ in range(2)),
            self._repeat(self._flood, once),
        ]
        async with client, once, asyncio.TaskGroup() as group:
            group.create_task(_as_coroutine(meanwhile))
            for caller in callers:
                group.create_task(caller)
        for channel in channels:
            await channel.close()

    async def _repeat(self, call: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        while time.monotonic() < self._until_s:
            await call(*arguments)
            await asyncio.sleep(0.005)

    def _draw(self, form: str, most: int) -> tuple[list[Any], list[float], int | None]:
        """Pairs with their scores, and the place of the one that is wrong, if one is."""
        drawn = self._rng.choices(self._known, k=self._rng.randint(1, most))
        pairs: list[Pair] = [known.text if form == "text" else known.tokens for known in drawn]
        bad = None
        if self._rng.random() < BAD_SHARE:
            bad = self._rng.randrange(len(pairs))
            pairs[bad] = self._rng.choice(BAD_TEXTS if form == "text" else BAD_IDS)
        return pairs, [known.score for known in drawn], bad

    async def _ask_rewardplane(self, client: AsyncClient, form: str) -> None:
        pairs, expected, bad = self._draw(form, 20)
        try:
            scores = await client.score(pairs)
        except InvalidRequest as error:
            self._refused(form, bad, [index for index, _ in error.bad_pairs], error)
        except RewardplaneError as error:  # with two replicas and a minute, no accident excuses one
            self.tally.wrong.append(f"{form}: {error}")
        else:
            self._answered(form, bad, scores.values.tolist(), expected)

    async def _ask_kserve(self, channels: Sequence[grpc.aio.Channel]) -> None:
        pairs, expected, bad = self._draw("text", 20)
        request = kserve_request(self._model_name, pairs)
        end_s = time.monotonic() + TIMEOUT_S
        turn = self._rng.randrange(2)
        while True:
            turn += 1
            method = channels[turn % 2].unary_unary(
                INFER, service_pb2.ModelInferRequest.SerializeToString, service_pb2.ModelInferResponse.FromString
            )
            try:
                reply = await method(request, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and time.monotonic() < end_s:
                    self.tally.counts["kserve: tried again"] += 1
                    await asyncio.sleep(0.02)
                    continue
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT and f"pairs[{bad}]" in (error.details() or ""):
                    self.tally.counts["kserve: bad pair named"] += 1
                else:
                    self.tally.wrong.append(f"kserve: {error.code()} {error.details()}")
            else:
                scores = np.frombuffer(reply.raw_output_contents[0], "<f4").tolist()
                self._answered("kserve", bad, scores, expected)
            return

    async def _hang_up(self, client: AsyncClient) -> None:
        pairs, _, _ = self._draw("tokens", 40)
        with suppress(TimeoutError, RewardplaneError):
            async with asyncio.timeout(self._rng.uniform(0.0, 0.05)):
                await client.score(pairs)
        self.tally.counts["hung up"] += 1

    async def _flood(self, client: AsyncClient) -> None:
        """60 requests at once, many times what the queue takes; then a breath."""

        async def one() -> None:
            pairs, expected, bad = self._draw("tokens", 80)
            try:
                scores = await client.score(pairs)
            except InvalidRequest as error:
                self._refused("flood", bad, [index for index, _ in error.bad_pairs], error)
            except Unavailable as error:
                self.tally.counts[f"flood: {error.reason or 'connection lost'}"] += 1
            except RewardplaneError as error:
                self.tally.wrong.append(f"flood: {error}")
            else:
                self._answered("flood", bad, scores.values.tolist(), expected)

        await asyncio.gather(*(one() for _ in range(60)))
        await asyncio.sleep(1.0)

    def _answered(self, caller: str, bad: int | None, scores: Sequence[float], expected: Sequence[float]) -> None:
        if bad is not None:
            self.tally.wrong.append(f"{caller}: a bad pair was scored")
        self.tally.check(caller, scores, expected)

    def _refused(self, caller: str, bad: int | None, named: Sequence[int], error: Exception) -> None:
        self.tally.counts[f"{caller}: bad pair named"] += 1
        if [bad] != list(named):
            self.tally.wrong.append(f"{caller}: {error} names {named} in place of {bad}")


def kserve_request(model_name: str, pairs: Sequence[TextPair]) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model_name)
    for name in ("question", "answer"):
        request.inputs.add(name=name, datatype="BYTES", shape=[len(pairs), 1])
        texts = [getattr(pair, name).encode() for pair in pairs]
        request.raw_input_contents.append(b"".join(len(text).to_bytes(4, "little") + text for text in texts))
    request.outputs.add(name="score")
    return request


async def _as_coroutine(meanwhile: Callable[[], Awaitable[object]]) -> None:
    await meanwhile()
