"""The cases, each measured round by round with all servers in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from .assets import BLOCK, GROUP_BLOCK, Assets, Request, read_requests
from .clients import Asks, AsksOurs, AsksVllm, all_scores
from .environments import CannotInstall
from .findings import OURS, Findings
from .load import Ask, closed_loop
from .processes import DidNotStart
from .servers import Running, Server, fastapi, ours, start, triton, vllm, wait_until_serving
from .worker import Worker, head_memory

MANY, ONE, GROUPED = "fp32, 64 callers", "fp32, 1 caller", "fp32, 4 callers, K = 9"
BF16 = "bf16, 64 callers"
LOGPROBS = "log-probs, 64 callers"
SHARING = "K = 9, question 256, answers 64"
HEAD = "log-prob head, V = 128256, 4096 tokens"
MEMORY, EXACT = "memory", "difference to transformers"
OFFLINE = "offline"
CALLERS = 64
TOLERANCES = {"float32": 1e-5, "bfloat16": 3e-2}
LOGPROB_TOLERANCE = 1e-4


T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    assets: Assets
    peers: Path
    logs: Path
    rounds: int
    seconds: float
    """Of each window at least; it then ends with its block of requests."""
    threads: int
    """Of every server."""


class Different(RuntimeError):
    """A server that does not give the numbers of the model."""


async def measure_scores(plan: Plan, worker: Worker, findings: Findings) -> None:
    """Reward servers in float32: 64 callers, one caller, and K answers a question; and the ceiling without a server."""
    pairs, groups = read_requests(plan.assets.pairs), read_requests(plan.assets.groups)
    async with AsyncExitStack() as stack:
        chosen = [ours("reward"), _ours_one_by_one(), vllm("pooling"), fastapi(), triton()]
        servers = await _start(chosen, plan, findings, stack, "fp32")
        checked = [*pairs[:BLOCK], *groups[:GROUP_BLOCK]]
        expected = worker.ask("hf_scores", checked)["scores"]
        servers = await _alike(servers, checked, expected, "float32", findings)
        for running, _ in servers:
            running.asked = {"pairs": BLOCK, "groups": GROUP_BLOCK}
        for number in range(plan.rounds):
            turn = servers[number % len(servers) :] + servers[: number % len(servers)]
            some = pairs[-(number + 4) * BLOCK :][: 4 * BLOCK]
            for running, asks in turn:
                window = _window(MANY, running, asks.scores, pairs, "pairs", CALLERS, plan, findings)
                if running.name == OURS:
                    parts = await _around(window, lambda part: worker.ask("packed", part, threads=plan.threads), some)
                    figures = {name: parts[0][name] + parts[1][name] for name in parts[0]}
                    costs = _costs(figures, len(some), sum(request.tokens[0] for request in some))
                    findings.add(MANY, OFFLINE, costs)
                else:
                    await window
            for running, asks in turn:
                window = _window(ONE, running, asks.scores, pairs, "pairs", 1, plan, findings, share=0.4)
                if running.name == OURS:
                    parts = await _around(
                        window, lambda part: worker.ask("alone", part, threads=plan.threads), some[: 2 * BLOCK]
                    )
                    for name in parts[0]:
                        p50_s = float(np.median(parts[0][name] + parts[1][name]))
                        findings.add(ONE, f"{OFFLINE}, {name}", {"p50 ms": 1e3 * p50_s})
                else:
                    await window
            for running, asks in turn:
                await _window(GROUPED, running, asks.scores, groups, "groups", 4, plan, findings)
        for running, _ in servers:
            findings.add(MEMORY, running.name, {"MB": running.process.resident_bytes() / 1e6})


def _ours_one_by_one() -> Server:
    """Ours with all threads for one batch at a time."""
    return ours("reward", "float32", "--parallel-batches", "1", name=f"{OURS}, one batch at a time")


async def measure_bfloat16(plan: Plan, worker: Worker, findings: Findings) -> None:
    """64 callers again, with weights in bfloat16."""
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512_bf16" not in flags and "amx_bf16" not in flags:
        findings.missing[BF16] = "this CPU has no bf16 instructions (avx512_bf16, amx_bf16)"
        return
    pairs = read_requests(plan.assets.pairs)
    async with AsyncExitStack() as stack:
        chosen = [ours("reward", "bfloat16"), vllm("pooling", "bfloat16")]
        servers = await _start(chosen, plan, findings, stack, "bf16")
        expected = worker.ask("hf_scores", pairs[:BLOCK])["scores"]
        servers = await _alike(servers, pairs[:BLOCK], expected, "bfloat16", findings)
        for running, _ in servers:
            running.asked = {"pairs": BLOCK}
        for number in range(plan.rounds):
            turn = servers[number % len(servers) :] + servers[: number % len(servers)]
            for running, asks in turn:
                await _window(BF16, running, asks.scores, pairs, "pairs", CALLERS, plan, findings)


async def measure_logprobs(plan: Plan, worker: Worker, findings: Findings) -> None:
    """A reference server against vLLM's `prompt_logprobs`."""
    pairs = read_requests(plan.assets.pairs)
    checked = pairs[:BLOCK]
    expected = worker.ask("hf_logprobs", checked)["logprobs"]
    async with AsyncExitStack() as stack:
        started = await _start([ours("reference"), vllm("generate")], plan, findings, stack, "log-probs")
        servers: list[tuple[Running, Ask]] = []
        for running, asks in started:
            assert isinstance(asks, (AsksOurs, AsksVllm))
            await wait_until_serving(running, lambda asks=asks: asks.logprobs(pairs[0]))  # type: ignore[misc]
            got = [value for part in await asyncio.gather(*map(asks.logprobs, checked)) for value in part]
            if _compare(running.name, got, expected, "log-probs", LOGPROB_TOLERANCE, findings):
                running.asked = {"pairs": BLOCK}
                servers.append((running, asks.logprobs))
        for number in range(plan.rounds):
            for running, ask in servers[:: -1 if number % 2 else 1]:
                await _window(LOGPROBS, running, ask, pairs, "pairs", CALLERS, plan, findings)


def measure_sharing(plan: Plan, worker: Worker, findings: Findings) -> None:
    """One question and its nine answers as one row, and as rows that have the question with each."""
    for _ in range(plan.rounds):
        groups = max(1, round(plan.seconds / 2))
        for name, figures in worker.ask("sharing", groups=groups).items():
            findings.add(SHARING, name, _costs(figures, 9 * groups, 9 * 320 * groups))


def measure_head(plan: Plan, findings: Findings) -> None:
    """Log-probs at a large vocabulary, in chunks and from whole logits."""
    for _ in range(min(plan.rounds, 2)):
        for what in ("chunked", "full"):
            figures = head_memory(what)
            costs = {"MB": figures["extra_bytes"] / 1e6, "CPU us/token": 1e6 * figures["cpu_seconds"] / 4096}
            findings.add(HEAD, what, costs)


async def _start(
    chosen: Sequence[Server], plan: Plan, findings: Findings, stack: AsyncExitStack, what: str
) -> list[tuple[Running, Asks]]:
    """Starts them one after another; a peer that cannot be is noted, and left out."""
    warm_up = read_requests(plan.assets.groups)[-1]
    started: list[tuple[Running, Asks]] = []
    for server in chosen:
        try:
            running = start(server, plan.assets, plan.peers, plan.logs / what, plan.threads)
            stack.callback(running.process.stop)
            asks = running.asks(running.port)
            stack.push_async_callback(asks.close)
            if what != "log-probs":
                await wait_until_serving(running, lambda asks=asks: asks.scores(warm_up))  # type: ignore[misc]
        except (CannotInstall, DidNotStart) as error:
            if server.name == OURS:
                raise
            findings.missing[f"{server.name}, {what}"] = str(error)
            print(f"without {server.name} ({what}): {error}", flush=True)
        else:
            print(f"{server.name} serves ({what})", flush=True)
            started.append((running, asks))
    return started


async def _alike(
    servers: Sequence[tuple[Running, Asks]],
    requests: Sequence[Request],
    expected: Sequence[float],
    dtype: str,
    findings: Findings,
) -> list[tuple[Running, Asks]]:
    """Those whose scores are the model's. Raises Different when ours are not."""
    alike = []
    for running, asks in servers:
        got = await all_scores(asks, requests)
        if _compare(running.name, got, expected, dtype, TOLERANCES[dtype], findings):
            alike.append((running, asks))
    return alike


def _compare(
    name: str, got: Sequence[float], expected: Sequence[float], what: str, tolerance: float, findings: Findings
) -> bool:
    difference = float(np.abs(np.subtract(got, expected)).max())
    findings.add(EXACT, f"{name}, {what}", {"largest": difference})
    print(f"{name} differs from transformers by {difference:.1e} at most ({what}, {len(got)} numbers)", flush=True)
    if difference <= tolerance:
        return True
    if name == OURS:
        raise Different(f"{name} differs from transformers by {difference:.1e} ({what}); {tolerance:g} is allowed")
    findings.missing[f"{name}, {what}"] = f"its numbers differ from transformers' by {difference:.1e}"
    return False


async def _window(
    case: str, running: Running, ask: Ask, requests: Sequence[Request], kind: str, callers: int, plan: Plan,
    findings: Findings, share: float = 1.0,
) -> None:  # fmt: skip
    block = BLOCK if kind == "pairs" else GROUP_BLOCK
    window = await closed_loop(running, ask, requests, kind, callers=callers, seconds=share * plan.seconds, block=block)
    findings.add_window(case, running.name, window)
    print(
        f"{case}: {running.name}: {window.pairs_per_s:.1f} pairs/s, {window.cpu_ms_per_pair:.2f} CPU ms/pair, "
        f"p50 {window.latency_ms(50):.1f} ms, p99 {window.latency_ms(99):.1f} ms ({window.pairs} pairs)",
        flush=True,
    )


async def _around(
    window: Awaitable[None], measure: Callable[[Sequence[Request]], T], requests: Sequence[Request]
) -> tuple[T, T]:
    """What is measured right before a window and right after it: a machine's speed changes by the minute."""
    half = len(requests) // 2
    before = measure(requests[:half])
    await window
    return before, measure(requests[half:])


def _costs(figures: dict[str, float], pairs: int, tokens: int) -> dict[str, float]:
    return {
        "pairs/s": pairs / figures["seconds"],
        "CPU ms/pair": 1e3 * figures["cpu_seconds"] / pairs,
        "CPU us/token": 1e6 * figures["cpu_seconds"] / tokens,
        "tokens/s": tokens / figures["seconds"],
    }
