"""Nothing that a caller makes up becomes a series."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
import rpc
from grpc_health.v1 import health_pb2
from servers import Served
from tritonclient.grpc import service_pb2

from rewardplane.v1 import scoring_service_pb2

IN_FLIGHT = 64
REQUESTS = 10_000


def word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters, k=12))


def score(rng: random.Random, **fields: Any) -> tuple[str, Any]:
    request = scoring_service_pb2.ScoreAnswersRequest(pairs=[rpc.text(word(rng), word(rng))], **fields)
    return "/rewardplane.v1.ScoringService/ScoreAnswers", request


def made_up(rng: random.Random) -> tuple[str, Any]:
    """A method and a request, some of them such as nobody serves."""
    match rng.randrange(6):
        case 0:
            return score(rng)
        case 1:
            return score(rng, expected_checkpoint_digest=word(rng))
        case 2:
            return score(rng, tokenizer_fingerprint=word(rng))
        case 3:
            request = service_pb2.ModelInferRequest(model_name=word(rng), model_version=word(rng), id=word(rng))
            return "/inference.GRPCInferenceService/ModelInfer", request
        case 4:
            return "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service=word(rng))
        case _:
            return f"/{word(rng)}/{word(rng)}", health_pb2.HealthCheckRequest(service=word(rng))


async def flood(target: str, requests: int, rng: random.Random) -> None:
    room = asyncio.Semaphore(IN_FLIGHT)
    async with grpc.aio.insecure_channel(target) as channel:

        async def call(method: str, request: Any) -> None:
            metadata = [("x-request-id", word(rng)), ("x-user", word(rng)), ("user-agent-of", word(rng))]
            async with room:
                send: Callable[..., Awaitable[Any]] = channel.unary_unary(method, type(request).SerializeToString)
                with suppress(grpc.RpcError):
                    await send(request, metadata=metadata, timeout=60)

        await asyncio.gather(*(call(*made_up(rng)) for _ in range(requests)))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_requests_with_random_ids_names_and_texts_add_no_series(reward_server: Served) -> None:
    await flood(reward_server.target, 300, random.Random(0))
    before = reward_server.metrics()
    await flood(reward_server.target, REQUESTS, random.Random(1))
    after = reward_server.metrics()
    assert after.keys() == before.keys()
    started = [sum(n for (name, _), n in m.items() if name == "grpc_server_started_total") for m in (before, after)]
    assert started[1] - started[0] == REQUESTS
