"""A server's answers over gRPC against the bare packed forward of the same pairs, and the judges of PPO.

Engine and servicers are those of `rewardplane serve`, in a process of their own and without what a fleet needs around
them (health, reflection, KServe v2), so that neither grpcio-health-checking nor tritonclient must be there.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import torch
from gpu_parts.checkpoints import save_models
from gpu_parts.clock import in_turns
from gpu_parts.pairs import mixed
from gpu_parts.shapes import SHAPES
from prometheus_client import CollectorRegistry
from result_file import Bar
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.engine import Engine
from rewardplane.services.common.interceptors import CallInterceptor
from rewardplane.services.common.loading import load_served
from rewardplane.services.roles import ROLES, services_of

from rewardplane.client import Client
from rewardplane.wire import TokenPair

Records = Iterator[dict[str, object] | Bar]
LARGEST_MESSAGE = [("grpc.max_receive_message_length", 256 << 20)]
FORKS = multiprocessing.get_context("fork")
"""Torch is imported already; CUDA must not be in use yet."""


@contextmanager
def served(models: Sequence[tuple[str, Path]], device: str, row_tokens: int) -> Iterator[list[str]]:
    """A server for each role and checkpoint, in processes of their own; gives their addresses once all serve."""
    assert not torch.cuda.is_initialized()
    pipes, processes = [], []
    for role, directory in models:
        ours, theirs = FORKS.Pipe()
        process = FORKS.Process(target=_serve, args=(role, directory, device, row_tokens, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield [pipe.recv() for pipe in pipes]  # EOFError when the server has died
    finally:
        for process in processes:
            process.terminate()
            process.join(20)


def apart(call: Any, *arguments: object) -> None:
    """In a process that ends, so that this one has not used CUDA yet."""
    process = FORKS.Process(target=call, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{call.__name__} ended with {process.exitcode}")


def config_of(device: str, row_tokens: int) -> ServerConfig:
    return ServerConfig(
        device=device, dtype="bfloat16" if device == "cuda" else "float32",
        max_batch_tokens=row_tokens, max_queue_tokens=64 * row_tokens, max_request_pairs=4096,
    )  # fmt: skip


def _serve(role: str, model: Path, device: str, row_tokens: int, ready: Connection) -> None:
    asyncio.run(_until_killed(role, model, config_of(device, row_tokens), ready))


async def _until_killed(role: str, model: Path, config: ServerConfig, ready: Connection) -> None:
    registry = CollectorRegistry()
    engine = Engine(ROLES[role], config, role, registry, None)
    await engine.load(lambda: load_served(ROLES[role], model, config))
    server = grpc.aio.server(interceptors=[CallInterceptor(role, registry)], options=LARGEST_MESSAGE)
    for service in services_of(ROLES[role]):
        service.add(service.servicer(engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()


def over_grpc(directory: Path, name: str, row_tokens: int, rows: int, device: str) -> Records:
    """`rows` rows' worth of pairs in one call of the client, which cuts it into requests."""
    apart(save_models, directory, name, device, ("reward",))
    pairs = mixed(rows * row_tokens, SHAPES[name].vocabulary)
    with served([("reward", directory / "reward")], device, row_tokens) as (address,), Client(address) as client:
        bare = load_served(ROLES["reward"], directory / "reward", config_of(device, row_tokens))
        batches = _by_tokens(pairs, row_tokens)
        took = in_turns(
            {
                "served": lambda: client.score(pairs, timeout_s=600.0),
                "bare": lambda: [bare.forward(batch) for batch in batches],
            },
            device,
            rounds=3,
        )
    tokens = sum(len(pair.question_ids) + len(pair.answer_ids) for pair in pairs)
    for kind, wall in took.items():
        yield {"case": f"scores, {name}, {kind}", "tokens_per_s": tokens / wall}
    yield Bar("served over gRPC / bare packed forward", took["bare"] / took["served"], "at least 0.95")


def _by_tokens(pairs: list[TokenPair], row_tokens: int) -> list[list[TokenPair]]:
    batches: list[list[TokenPair]] = [[]]
    used = 0
    for pair in pairs:
        length = len(pair.question_ids) + len(pair.answer_ids)
        if batches[-1] and used + length > row_tokens:
            batches.append([])
            used = 0
        batches[-1].append(pair)
        used += length
    return batches
