"""Under mixed load and with a replica killed again and again no answer is lost or swapped, and nothing leaks."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from judge_process import JudgeProcess
from leaks import growth_bytes, open_files, resident_in_use_mib, resident_mib, wait_for
from peer_forward import peer_score
from servers import scrape
from soak import Known, Soak, Tally
from tiny_models import make_tokenizer, save_tiny

from rewardplane.wire import TextPair, TokenPair

ROOT = Path(__file__).parents[2]
WORDS = (
    "good", "long", "film", "end", "seen", "again", "hoped", "was", "it", "not", "the", "and", "a", "question",
    "answer", "says", "how", "what", "see",
)  # fmt: skip
READ_EVERY_S = 5.0
STAYS_BYTES = 100.0
"""A request, at most. What a call that was cancelled once left in its caller was 965 bytes."""
FLAGS = ("--max-queue-tokens", "20000", "--log-level", "error")


@dataclass(frozen=True)
class Reading:
    """What processes hold: the replica that is never killed, and the callers' own."""

    requests: int
    replica_mib: float
    replica_files: int
    callers_mib: float
    callers_files: int


@dataclass(frozen=True)
class Seen:
    """What a soak brought."""

    tally: Tally
    kills: int
    readings: list[Reading]
    """After a tenth of the time and later; the last when all calls have ended."""

    @property
    def replica_growth_bytes(self) -> float:
        """A request, that stay."""
        return growth_bytes([r.replica_mib for r in self.readings], [r.requests for r in self.readings])

    @property
    def callers_growth_bytes(self) -> float:
        """A request, that stay."""
        return growth_bytes([r.callers_mib for r in self.readings], [r.requests for r in self.readings])


def known_pairs(directory: Path, n: int, seed: int) -> list[Known]:
    """Texts of random words, their token ids, and their scores one by one."""
    rng = random.Random(seed)
    tokenizer = make_tokenizer()
    texts = [
        TextPair(" ".join(rng.choices(WORDS, k=rng.randint(2, 12))), " ".join(rng.choices(WORDS, k=rng.randint(1, 12))))
        for _ in range(n)
    ]
    ids = [
        (
            tokenizer(text.question)["input_ids"],
            [*tokenizer(text.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id],
        )
        for text in texts
    ]
    scores = peer_score(directory, ids)
    return [Known(text, TokenPair(*pair), score) for text, pair, score in zip(texts, ids, scores, strict=True)]


def read(steady: JudgeProcess, tally: Tally) -> Reading:
    return Reading(
        tally.requests, resident_mib(steady.pid), open_files(steady.pid), resident_in_use_mib(), open_files(os.getpid())
    )


async def soak(folder: Path, seconds: float, kill_every_s: float, seed: int) -> Seen:
    manifest = save_tiny(folder / "reward", "reward", seed=1)
    known = known_pairs(folder / "reward", 300, seed)
    steady, killed = (JudgeProcess("reward", folder / "reward", folder, *FLAGS, name=name) for name in ("a", "b"))
    try:
        callers = Soak([steady.target, killed.target], known, manifest.model_name, seed)
        readings: list[Reading] = []
        kills = 0

        async def kill_again_and_again() -> None:
            nonlocal kills
            began_s = time.monotonic()
            while (next_s := (kills + 1) * kill_every_s) < seconds:
                await asyncio.sleep(began_s + next_s - time.monotonic())
                await asyncio.to_thread(killed.kill)
                kills += 1
                await asyncio.sleep(min(1.0, kill_every_s / 10))
                await asyncio.to_thread(killed.start_again)

        async def keep_reading() -> None:
            end_s = time.monotonic() + seconds
            await asyncio.sleep(seconds / 10)
            while time.monotonic() < end_s:
                readings.append(read(steady, callers.tally))
                await asyncio.sleep(min(READ_EVERY_S, seconds / 10))

        await callers.run(seconds, meanwhile=lambda: asyncio.gather(kill_again_and_again(), keep_reading()))
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not tasks, tasks
        at_rest = await asyncio.to_thread(wait_for, lambda: open_files(steady.pid) <= readings[0].replica_files)
        readings.append(read(steady, callers.tally))
        assert at_rest, (readings[0], readings[-1])
        check_at_rest(steady)
        assert steady.drain() == 0  # a handler that is left would keep it until it is cut off
        assert "Traceback" not in steady.log()
    finally:
        for process in (steady, killed):
            process.kill()
    return Seen(callers.tally, kills, readings)


def check_at_rest(process: JudgeProcess) -> None:
    """Every call that began has ended."""
    metrics = scrape(process.metrics_port)
    assert metrics["rewardplane_queue_tokens", ()] == 0
    started, handled = (
        sum(n for (name, _), n in metrics.items() if name == f"grpc_server_{what}_total")
        for what in ("started", "handled")
    )
    assert started == handled


def check(seen: Seen) -> None:
    tally = seen.tally
    assert not tally.wrong, (len(tally.wrong), tally.wrong[:5])
    for caller in ("text", "tokens", "kserve", "flood"):
        assert tally.counts[f"{caller}: answered"]
        assert tally.counts[f"{caller}: bad pair named"]
    assert tally.counts["flood: QUEUE_FULL"]
    assert tally.counts["hung up"]
    first, last = seen.readings[0], seen.readings[-1]
    assert last.callers_files <= first.callers_files + 2  # sockets to the replica that comes and goes


@pytest.mark.timeout(200)
async def test_a_short_soak_with_two_kills(tmp_path: Path) -> None:
    seen = await soak(tmp_path, 15.0, 5.0, random.randrange(2**32))
    assert seen.kills == 2
    check(seen)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_minutes_with_a_kill_every_30_s(tmp_path: Path) -> None:
    seen = await soak(tmp_path, 600.0, 30.0, 20261126)
    write_figures(seen)
    assert seen.kills == 19
    check(seen)
    assert seen.replica_growth_bytes < STAYS_BYTES
    assert seen.callers_growth_bytes < STAYS_BYTES


def write_figures(seen: Seen) -> None:
    """To benchmarks/results/soak.json and soak.md, when SOAK_RESULTS is set."""
    if not os.environ.get("SOAK_RESULTS"):
        return
    sys.path.append(str(ROOT / "benchmarks"))
    from result_file import Bar, write_results

    tally, first, last = seen.tally, seen.readings[0], seen.readings[-1]
    rows = [{"what": what, "number": number} for what, number in sorted(tally.counts.items())]
    of_it = {
        "kills of one replica (SIGKILL, started again)": seen.kills,
        "requests in all": tally.requests,
        "MiB of the other replica, from the second minute on": in_steps([r.replica_mib for r in seen.readings]),
        "file descriptors of it": f"{first.replica_files}, {last.replica_files}",
        "MiB of the callers' process": in_steps([r.callers_mib for r in seen.readings]),
        "file descriptors of that": f"{first.callers_files}, {last.callers_files}",
    }
    rows += [{"what": what, "number": number} for what, number in of_it.items()]
    stays = f"at most {STAYS_BYTES:.0f}"
    bars = [
        Bar("answers lost, swapped or refused without reason", len(tally.wrong), "at most 0"),
        Bar("largest error of a score", tally.largest_error, "at most 1e-5"),
        Bar("bytes a request that stay in the replica", seen.replica_growth_bytes, stays),
        Bar("bytes a request that stay in the callers' process", seen.callers_growth_bytes, stays),
    ]
    note = (
        "10 minutes of mixed load on two replicas of a tiny reward model; 20 % of the requests have a bad pair. "
        f"Memory is resident memory, read every {READ_EVERY_S:.0f} s from the second minute on, the callers' after "
        "malloc_trim; what stays is the slope of the line of least squares over the requests made until then."
    )
    write_results("soak", "SOAK_RESULTS=1 make drill TESTS=tests/drills/test_soak.py", rows, bars, note)


def in_steps(readings: Sequence[float]) -> str:
    """Ten of them, evenly spaced."""
    return ", ".join(f"{readings[i]:.0f}" for i in np.linspace(0, len(readings) - 1, 10).astype(int))
