"""Probes: alive from the opening of the ports to the end, ready only while calls are accepted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import Server
from servers import served

from rewardplane.v1 import generation_service_pb2, generation_service_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ALIVE = "rewardplane.alive"


async def statuses(channel: grpc.aio.Channel) -> tuple[Any, Any]:
    """Of being alive, and of being ready."""
    stub = health_pb2_grpc.HealthStub(channel)
    alive, ready = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in (ALIVE, "")]
    return alive.status, ready.status


async def test_a_server_is_alive_while_it_loads_and_while_it_drains(policy_dir: Path) -> None:
    server = Server("policy", policy_dir, ServerConfig(threads=1, health_port=0, drain_seconds=2))
    await server.open()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{server.health_port}") as channel,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as calls,
    ):
        assert await statuses(channel) == (SERVING, NOT_SERVING)
        await server.load()
        assert await statuses(channel) == (SERVING, SERVING)
        # 20 calls of 256 answers are more than 2 seconds of work.
        stub = generation_service_pb2_grpc.GenerationServiceStub(calls)
        question = generation_service_pb2.Question(text="a")
        request = generation_service_pb2.GenerateAnswersRequest(questions=[question] * 256, max_answer_tokens=200)
        flight = [stub.GenerateAnswers(request) for _ in range(20)]
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.2)
        assert await statuses(channel) == (SERVING, NOT_SERVING)
        assert not stopping.done()
        await stopping
        for call in flight:
            call.cancel()


def test_health_has_its_port_only_when_asked_for(reward_dir: Path) -> None:
    with served("reward", reward_dir) as server:
        assert server.server.health_port is None
        with grpc.insecure_channel(server.target) as channel:
            request = health_pb2.HealthCheckRequest(service=ALIVE)
            assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status == SERVING


def test_connections_are_told_to_reconnect_at_their_age(reward_dir: Path) -> None:
    with served("reward", reward_dir, max_connection_age_seconds=0.5) as server:
        seen: list[grpc.ChannelConnectivity] = []
        with grpc.insecure_channel(server.target) as channel:
            channel.subscribe(seen.append, try_to_connect=True)
            end_s = time.monotonic() + 10
            while grpc.ChannelConnectivity.READY not in seen or seen[-1] is grpc.ChannelConnectivity.READY:
                assert time.monotonic() < end_s, seen
                time.sleep(0.05)
            assert seen[-1] in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
