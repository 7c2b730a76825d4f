"""Anything at all is sent to a live server, on both protocols: it answers with what is wrong, and goes on as before."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import rpc
from judge_process import JudgeProcess
from leaks import open_files, resident_mib, wait_for
from malformed import STREAM, Malformed, Request, random_http2
from peer_forward import peer_logprobs
from servers import scrape

IN_FLIGHT = 32
TIMEOUT_S = 60.0
ENDED_EARLY = "the stream was ended while this side was sending"
"""What gRPC's asyncio client then calls INTERNAL; the server's own status is lost."""
MOST_MIB = 200
"""Kernels for lengths that had not come before, and the allocator's: 25 MiB after 1,700 requests, 115 after 115,000."""
QUESTION, ANSWER = [0, 40, 41, 42], [50, 51, 1]


async def ask(channel: grpc.aio.Channel, request: Request) -> str:
    """The status of the call, and the reason that it gives."""
    try:
        if request.method == STREAM:
            async for _ in channel.stream_stream(request.method)(iter(request.payloads), timeout=TIMEOUT_S):
                pass
        else:
            await channel.unary_unary(request.method)(request.payloads[0], timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        if "execute_batch" in (error.debug_error_string() or ""):
            return ENDED_EARLY
        failed = rpc.read_aio_failure(error)
        return f"{failed.code.name} {failed.reason}".strip()
    return "OK"


async def send_malformed(target: str, malformed: Malformed, refusals: int) -> tuple[Counter[str], list[Request]]:
    """Until so many requests were refused. Gives the outcomes, and the requests that had one they must not have."""
    outcomes: Counter[str] = Counter()
    wrong: list[Request] = []

    async def sender() -> None:
        while outcomes.total() - outcomes["OK"] < refusals:
            request = next(malformed)
            outcome = await ask(channel, request)
            outcomes[outcome] += 1
            if is_wrong(outcome):
                wrong.append(request)

    async with grpc.aio.insecure_channel(target) as channel:
        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
    return outcomes, wrong


def is_wrong(outcome: str) -> bool:
    """No bug, no hang (a deadline that a request names itself has a reason), no lost connection."""
    code, _, reason = outcome.partition(" ")
    return code in ("INTERNAL", "UNKNOWN", "CANCELLED") or (code in ("DEADLINE_EXCEEDED", "UNAVAILABLE") and not reason)


async def send_noise(target: str, rng: random.Random, connections: int) -> None:
    """Connections that speak no HTTP/2, or a broken one, a few at a time."""
    host, _, port = target.rpartition(":")

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(random_http2(rng))
        try:
            await writer.drain()
            if rng.random() < 0.5:
                await asyncio.wait_for(reader.read(), 0.05)  # what the server makes of it; others just hang up
        except (OSError, TimeoutError):
            pass
        writer.close()

    for _ in range(connections // 16):
        await asyncio.gather(*(connect() for _ in range(16)), return_exceptions=True)


def scores_are_right(target: str, directory: Path) -> None:
    with grpc.insecure_channel(target) as channel:
        fingerprint = rpc.info(channel).tokenizer_fingerprint
        pair = rpc.tokens(QUESTION, ANSWER)
        score = rpc.score(channel, [pair], tokenizer_fingerprint=fingerprint).scores[0]
        logprobs = rpc.floats(
            rpc.logprobs(channel, [pair], tokenizer_fingerprint=fingerprint).answer_logprobs[0].logprobs
        )
    expected = peer_logprobs(directory, [(QUESTION, ANSWER)])[0]
    assert list(logprobs) == pytest.approx(expected, abs=1e-5)
    assert score == pytest.approx(sum(expected), abs=1e-5 * len(ANSWER))


async def attack(process: JudgeProcess, directory: Path, seed: int, refusals: int) -> Counter[str]:
    """Checks the server before, and that it holds no more afterwards; gives the outcomes."""
    target, pid = process.target, process.pid
    with grpc.insecure_channel(target) as channel:
        info = rpc.info(channel)
    malformed = Malformed(seed, info.model_version.model_name, info.tokenizer_fingerprint)
    await send_malformed(target, malformed, 500)  # what is made once is made: caches, threads
    await send_noise(target, random.Random(seed), 64)
    scores_are_right(target, directory)
    files, mib = open_files(pid), resident_mib(pid)
    began_s = time.monotonic()
    outcomes, wrong = await send_malformed(target, malformed, refusals)
    await send_noise(target, random.Random(seed + 1), refusals // 20)
    print(f"{outcomes.total()} requests in {time.monotonic() - began_s:.0f} s, {resident_mib(pid) - mib:+.0f} MiB")
    print(outcomes)
    assert not wrong, (seed, wrong[:3])
    scores_are_right(target, directory)
    assert wait_for(lambda: open_files(pid) <= files), (files, open_files(pid))
    assert resident_mib(pid) < mib + MOST_MIB
    metrics = scrape(process.metrics_port)
    assert metrics["rewardplane_queue_tokens", ()] == 0
    assert metrics["rewardplane_forward_failures_total", ()] == 0
    codes = {labels[0] for (name, labels), n in metrics.items() if name == "grpc_server_handled_total" and n}
    assert not codes & {"INTERNAL", "UNKNOWN"}, codes
    # Every call that began has ended, so no task is left of one: started and handled calls are as many.
    started = sum(n for (name, _), n in metrics.items() if name == "grpc_server_started_total")
    handled = sum(n for (name, _), n in metrics.items() if name == "grpc_server_handled_total")
    assert started == handled
    return outcomes


def check_end(process: JudgeProcess, seed: int) -> None:
    assert process.drain() == 0, (seed, process.log())  # a handler that hangs would keep it until it is cut off
    assert "Traceback" not in process.log(), (seed, process.log()[-5000:])


@pytest.fixture
def process(policy_dir: Path, tmp_path: Path) -> Iterator[JudgeProcess]:
    limits = ["--max-request-pairs", "8", "--max-pair-tokens", "64", "--drain-seconds", "5"]
    process = JudgeProcess("policy", policy_dir, tmp_path, *limits, "--log-level", "error")
    yield process
    process.kill()


async def test_malformed_requests_are_refused_and_change_nothing(process: JudgeProcess, policy_dir: Path) -> None:
    seed = random.randrange(2**32)
    outcomes = await attack(process, policy_dir, seed, 1500)
    check_end(process, seed)
    assert outcomes["INVALID_ARGUMENT INVALID_PAIRS"]
    assert outcomes["INVALID_ARGUMENT INVALID_TENSOR"]
    assert outcomes["INVALID_ARGUMENT MALFORMED_REQUEST"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_100_000_malformed_requests(process: JudgeProcess, policy_dir: Path) -> None:
    seed = 20261126
    await attack(process, policy_dir, seed, 100_000)
    check_end(process, seed)
