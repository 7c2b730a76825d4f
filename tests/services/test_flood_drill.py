"""Ten times as many calls as the server can answer: memory stays flat, and it answers as many as before."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import rpc
from servers import Process, scrape
from tiny_models import save_tiny

from rewardplane.v1 import scoring_service_pb2, scoring_service_pb2_grpc

PAIRS = 16
FLOOD_S = 60.0


def resident_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def call(stub: Any, request: Any, outcomes: Counter[str]) -> None:
    try:
        await stub.ScoreAnswers(request, timeout=120)
        outcomes["OK"] += 1
    except grpc.aio.AioRpcError as error:
        failed = rpc.read_aio_failure(error)
        outcomes[f"{failed.code.name} {failed.reason} {'retry' if failed.retry_after_s else ''}".strip()] += 1


async def capacity(stub: Any, requests: list[Any], seconds: float) -> float:
    """Calls a second with 8 callers that wait for their answers."""
    outcomes: Counter[str] = Counter()
    end_s = time.monotonic() + seconds

    async def caller(i: int) -> None:
        while time.monotonic() < end_s:
            await call(stub, requests[i % len(requests)], outcomes)

    began_s = time.monotonic()
    await asyncio.gather(*(caller(i) for i in range(8)))
    assert set(outcomes) == {"OK"}
    return outcomes["OK"] / (time.monotonic() - began_s)


async def flood(stub: Any, requests: list[Any], per_s: float, seconds: float) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    tasks = []
    began_s = time.monotonic()
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        while len(tasks) < elapsed_s * per_s:
            tasks.append(asyncio.create_task(call(stub, requests[len(tasks) % len(requests)], outcomes)))
        await asyncio.sleep(0.01)
    outcomes["answered in time"] = outcomes["OK"]
    await asyncio.gather(*tasks)
    return outcomes


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_flood_changes_nothing_for_those_who_are_let_in(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward", hidden_size=128, intermediate_size=344, num_hidden_layers=6)
    rng = np.random.default_rng(0)
    process = Process("reward", tmp_path / "rm", tmp_path, "--max-queue-tokens", "20000", "--log-level", "warning")
    try:
        target = process.wait_until_serving()
        async with grpc.aio.insecure_channel(target) as channel:
            with grpc.insecure_channel(target) as plain:
                fingerprint = rpc.info(plain).tokenizer_fingerprint
            stub = scoring_service_pb2_grpc.ScoringServiceStub(channel)
            requests = [
                scoring_service_pb2.ScoreAnswersRequest(
                    pairs=[rpc.tokens(rng.integers(3, 300, 60), rng.integers(3, 300, 60)) for _ in range(PAIRS)],
                    tokenizer_fingerprint=fingerprint,
                )
                for _ in range(20)
            ]
            per_s = await capacity(stub, requests, 10)
            before_mib = resident_mib(process.process.pid)
            outcomes = await flood(stub, requests, 10 * per_s, FLOOD_S)
            after_mib, metrics = resident_mib(process.process.pid), scrape(process.metrics_port)
            # Half of the capacity from before the flood and half from after: other programs come and go.
            per_s = (per_s + await capacity(stub, requests, 10)) / 2
    finally:
        process.close()
    refused = "UNAVAILABLE QUEUE_FULL retry"
    assert set(outcomes) == {"OK", "answered in time", refused}
    assert metrics["rewardplane_refused_total", ("QUEUE_FULL",)] == outcomes[refused]
    assert outcomes["answered in time"] / FLOOD_S > 0.9 * per_s
    assert after_mib < before_mib + 40
