"""A server's answers over gRPC against the bare packed forward of the same pairs, and its judges for PPO.

Engine and servicers are those of `rewardplane serve`, in this process and without what a fleet needs around them
(health, reflection, KServe v2), so that neither grpcio-health-checking nor tritonclient must be there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from gpu_parts.clock import in_turns
from gpu_parts.pairs import mixed
from prometheus_client import CollectorRegistry
from result_file import Bar
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.engine import Engine
from rewardplane.services.common.interceptors import CallInterceptor
from rewardplane.services.common.loading import load_served
from rewardplane.services.roles import ROLES, services_of

from rewardplane.client import Client

Rows = list[dict[str, object]]
LARGEST_MESSAGE = [("grpc.max_receive_message_length", 256 << 20)]


@contextmanager
def served(role: str, model: Path, device: str, row_tokens: int) -> Iterator[tuple[str, Engine]]:
    """A server on a thread of its own; gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    config = ServerConfig(
        device=device, dtype="bfloat16" if device == "cuda" else "float32",
        max_batch_tokens=row_tokens, max_queue_tokens=64 * row_tokens, max_request_pairs=4096,
    )  # fmt: skip
    address, engine, server = asyncio.run_coroutine_threadsafe(_start(role, model, config), loop).result()
    try:
        yield address, engine
    finally:
        asyncio.run_coroutine_threadsafe(_stop(engine, server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _start(role: str, model: Path, config: ServerConfig) -> tuple[str, Engine, grpc.aio.Server]:
    registry = CollectorRegistry()
    engine = Engine(ROLES[role], config, role, registry, None)
    await engine.load(lambda: load_served(ROLES[role], model, config))
    server = grpc.aio.server(interceptors=[CallInterceptor(role, registry)], options=LARGEST_MESSAGE)
    for service in services_of(ROLES[role]):
        service.add(service.servicer(engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return f"127.0.0.1:{port}", engine, server


async def _stop(engine: Engine, server: grpc.aio.Server) -> None:
    await server.stop(1.0)
    await engine.stop()


def over_grpc(model: Path, vocabulary: int, row_tokens: int, rows: int, device: str) -> tuple[Rows, list[Bar]]:
    """`rows` rows' worth of pairs in one call of the client, which cuts it into requests."""
    pairs = mixed(rows * row_tokens, vocabulary)
    with served("reward", model, device, row_tokens) as (address, engine):
        bare = engine.model
        batches = _by_tokens(pairs, row_tokens)
        with Client(address, timeout_s=600.0) as client:
            took = in_turns(
                {
                    "served": lambda: client.score(pairs),
                    "bare": lambda: [bare.forward(batch) for batch in batches],
                },
                device,
                rounds=3,
            )
    tokens = sum(len(pair.question_ids) + len(pair.answer_ids) for pair in pairs)
    found: Rows = [{"case": f"scores, {kind}", "tokens_per_s": tokens / wall} for kind, wall in took.items()]
    return found, [Bar("served over gRPC / bare packed forward", took["bare"] / took["served"], "at least 0.95")]


def _by_tokens(pairs: list, row_tokens: int) -> list[list]:
    batches: list[list] = [[]]
    used = 0
    for pair in pairs:
        length = len(pair.question_ids) + len(pair.answer_ids)
        if batches[-1] and used + length > row_tokens:
            batches.append([])
            used = 0
        batches[-1].append(pair)
        used += length
    return batches
