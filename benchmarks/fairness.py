"""What a flood by one team does to the answers of another, on one server that three identities share.

    python benchmarks/fairness.py

`steady` keeps the server busy; `quiet` asks for little, five times a second; `flood` sends ten times what the server
can compute. Windows with and without the flood alternate. The last one is the same flood on a server without an
access file, where all three are one caller.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from result_file import Bar, write_results
from rewardplane.services.common.access.token_file import new_token
from serving_parts.processes import ServerProcess
from transformers import AutoModelForSequenceClassification, LlamaConfig, PreTrainedTokenizerFast

from rewardplane import Client
from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.v1 import scoring_service_pb2, types_pb2

WINDOW_S = 25.0
ROUNDS = 2
PAIR_TOKENS = 64
QUIET = {"pairs": 2, "per_second": 5.0}
STEADY = {"pairs": 8, "at_once": 16}
FLOOD_PAIRS = 32
TIMES_CAPACITY = 10.0
VOCABULARY = 1000
SCORE = "/rewardplane.v1.ScoringService/ScoreAnswers"
ACCESS = "\n".join(f'[identities.{name}]\ncapabilities = ["score"]' for name in ("quiet", "steady", "flood"))

Ask = Callable[[bytes], Awaitable[bytes]]


@dataclass
class Window:
    """What was seen in one window."""

    quiet_s: list[float] = field(default_factory=list)
    steady: int = 0
    flood_sent: int = 0
    flood_answered: int = 0
    quiet_failed: int = 0


def make_model(directory: Path) -> None:
    """A random reward model, of which one core computes a batch in about a tenth of a second."""
    from tokenizers import Tokenizer, models

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0")),
        eos_token="1",
    )
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=512, num_labels=1, pad_token_id=2, eos_token_id=1,
    )  # fmt: skip
    encoder = PairEncoder(tokenizer, [1], VOCABULARY)
    save_checkpoint(
        directory, AutoModelForSequenceClassification.from_config(config), tokenizer,
        tokenizer_fingerprint=encoder.fingerprint, model_name="reward", kind="reward",
    )  # fmt: skip


@dataclass
class Served:
    """A server, and how each identity asks it."""

    target: str
    tokens: dict[str, str]
    fingerprint: str
    generator: np.random.Generator

    def request(self, pairs: int) -> bytes:
        """Pairs that share nothing with any other."""
        ids = self.generator.integers(3, VOCABULARY, (pairs, PAIR_TOKENS)).astype("<i4")
        messages = [
            types_pb2.QuestionAnswer(
                tokens=types_pb2.TokenPair(question_ids=row[:32].tobytes(), answer_ids=row[32:].tobytes())
            )
            for row in ids
        ]
        return scoring_service_pb2.ScoreAnswersRequest(
            pairs=messages, tokenizer_fingerprint=self.fingerprint
        ).SerializeToString()

    @asynccontextmanager
    async def asking(self, name: str):
        metadata = [("authorization", f"Bearer {self.tokens[name]}")] if self.tokens else []
        async with grpc.aio.insecure_channel(self.target) as channel:
            call = channel.unary_unary(SCORE)
            yield lambda request: call(request, metadata=metadata, timeout=120)


@asynccontextmanager
async def serving(folder: Path, *, closed: bool):
    """`rewardplane serve reward` on one core; with an access file when it is `closed`."""
    tokens, flags = {}, []
    if closed:
        lines = []
        for name in ("quiet", "steady", "flood"):
            tokens[name], line = new_token(name, None)
            lines.append(str(line))
        (folder / "tokens").write_text("\n".join(lines))
        (folder / "access.toml").write_text(f'tokens = "tokens"\n{ACCESS}\n')
        flags = ["--access", str(folder / "access.toml")]
    ports = folder / f"ports-{closed}.json"
    process = ServerProcess(
        [
            sys.executable, "-m", "rewardplane", "serve", "reward", "--model", str(folder / "reward"), "--threads", "1",
            "--port", "0", "--metrics-port", "0", "--port-file", str(ports), "--log-level", "warning",
            "--drain-seconds", "1", *flags,
        ],
        {"OMP_NUM_THREADS": "1"},
        folder / "server.log",
    )  # fmt: skip
    try:
        give_up_s = time.monotonic() + 120
        while not ports.exists():
            process.check(give_up_s)
            await asyncio.sleep(0.1)
        target = f"127.0.0.1:{json.loads(ports.read_text())['port']}"
        metadata = [("authorization", f"Bearer {tokens['quiet']}")] if closed else ()
        with Client(target, metadata=metadata) as client:
            fingerprint = client.info().tokenizer_fingerprint
        yield Served(target, tokens, fingerprint, np.random.default_rng(0))
    finally:
        process.stop()


async def quiet(served: Served, seen: Window) -> None:
    async with served.asking("quiet") as ask:
        pending = set()
        while True:
            pending.add(asyncio.create_task(_timed(ask, served.request(QUIET["pairs"]), seen)))
            pending = {task for task in pending if not task.done()}
            await asyncio.sleep(served.generator.exponential(1 / QUIET["per_second"]))


async def _timed(ask: Ask, request: bytes, seen: Window) -> None:
    began_s = time.perf_counter()
    try:
        await ask(request)
    except grpc.RpcError:
        seen.quiet_failed += 1
    else:
        seen.quiet_s.append(time.perf_counter() - began_s)


async def steady(served: Served, seen: Window) -> None:
    async with served.asking("steady") as ask:

        async def caller() -> None:
            while True:
                try:
                    await ask(served.request(STEADY["pairs"]))
                except grpc.RpcError:
                    await asyncio.sleep(0.05)
                else:
                    seen.steady += 1

        await asyncio.gather(*(caller() for _ in range(STEADY["at_once"])))


async def flood(served: Served, seen: Window, tokens_per_s: float) -> None:
    request = [served.request(FLOOD_PAIRS) for _ in range(64)]
    async with served.asking("flood") as ask:

        async def one() -> None:
            try:
                await ask(request[seen.flood_sent % 64])
            except grpc.RpcError:
                return
            seen.flood_answered += 1

        pending, began_s = set(), time.perf_counter()
        while True:
            due = (time.perf_counter() - began_s) * TIMES_CAPACITY * tokens_per_s / (FLOOD_PAIRS * PAIR_TOKENS)
            while seen.flood_sent < due:
                pending.add(asyncio.create_task(one()))
                seen.flood_sent += 1
            pending = {task for task in pending if not task.done()}
            await asyncio.sleep(0.02)


async def window(served: Served, seconds: float, *loads: Callable[[Served, Window], Awaitable[None]]) -> Window:
    seen = Window()
    tasks = [asyncio.create_task(load(served, seen)) for load in loads]
    await asyncio.sleep(3)
    seen.quiet_s, seen.steady, seen.quiet_failed = [], 0, 0
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(1)
    return seen


def row(name: str, windows: list[Window], seconds: float) -> dict[str, object]:
    waits = [wait for seen in windows for wait in seen.quiet_s]
    return {
        "windows": name,
        "quiet answers": len(waits),
        "quiet p50 ms": 1e3 * float(np.percentile(waits, 50)) if waits else float("nan"),
        "quiet p99 ms": 1e3 * float(np.percentile(waits, 99)) if waits else float("nan"),
        "quiet refused": sum(seen.quiet_failed for seen in windows),
        "steady requests/s": sum(seen.steady for seen in windows) / (len(windows) * seconds),
        "flood sent": sum(seen.flood_sent for seen in windows),
        "flood answered": sum(seen.flood_answered for seen in windows),
    }


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "reward")
        async with serving(folder, closed=True) as served:
            capacity = (await window(served, 8.0, steady)).steady * STEADY["pairs"] * PAIR_TOKENS / 8.0

            def flooding(served: Served, seen: Window) -> Awaitable[None]:
                return flood(served, seen, capacity)

            calm, flooded = [], []
            for _ in range(ROUNDS):
                calm.append(await window(served, WINDOW_S, quiet, steady))
                flooded.append(await window(served, WINDOW_S, quiet, steady, flooding))
        async with serving(folder, closed=False) as served:
            open_door = [await window(served, WINDOW_S / 2, quiet, steady, flooding)]
    rows = [
        row("without the flood", calm, WINDOW_S),
        row("with the flood", flooded, WINDOW_S),
        row("with the flood, no access file", open_door, WINDOW_S / 2),
    ]
    moved = 100 * (rows[1]["quiet p99 ms"] / rows[0]["quiet p99 ms"] - 1)
    note = (
        f"The server computes {capacity:,.0f} tokens a second on one core; a batch has at most 1024. quiet: "
        f"{QUIET['pairs']} pairs of {PAIR_TOKENS} tokens, {QUIET['per_second']:g} times a second at random; steady: "
        f"{STEADY['at_once']} requests of {STEADY['pairs']} pairs at once, in a closed loop, so that the server is "
        f"always busy; flood: requests of {FLOOD_PAIRS} pairs at {TIMES_CAPACITY:g} times that speed. "
        f"{ROUNDS} windows of {WINDOW_S:g} s, alternating, and half of one without an access file; all clients are one "
        "process on the other core."
    )
    write_results(
        "fairness", "python benchmarks/fairness.py", rows,
        [Bar("the flood moves the quiet team's p99, percent", moved, "at most 25")], note,
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
