"""Under mixed load and with a replica killed again and again no answer is lost or swapped, and nothing leaks."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from judge_process import JudgeProcess
from leaks import open_files, resident_mib, wait_for
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
FLAGS = ("--max-queue-tokens", "20000", "--log-level", "error")


@dataclass(frozen=True)
class Held:
    """What processes hold: the replica that is never killed, and the callers' own."""

    replica_mib: float
    replica_files: int
    callers_mib: float
    callers_files: int


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


def held(steady: JudgeProcess) -> Held:
    return Held(resident_mib(steady.pid), open_files(steady.pid), resident_mib(os.getpid()), open_files(os.getpid()))


async def soak(folder: Path, seconds: float, kill_every_s: float, seed: int) -> tuple[Tally, int, Held, Held]:
    """The callers' tally, the number of kills, and what was held after a tenth of the time and at the end."""
    manifest = save_tiny(folder / "reward", "reward", seed=1)
    known = known_pairs(folder / "reward", 300, seed)
    steady, killed = (JudgeProcess("reward", folder / "reward", folder, *FLAGS, name=name) for name in ("a", "b"))
    try:
        callers = Soak([steady.target, killed.target], known, manifest.model_name, seed)
        before, kills = [held(steady)], 0

        async def accidents() -> None:
            nonlocal kills
            began_s = time.monotonic()
            await asyncio.sleep(seconds / 10)
            before[0] = held(steady)
            while (next_s := (kills + 1) * kill_every_s) < seconds:
                await asyncio.sleep(began_s + next_s - time.monotonic())
                await asyncio.to_thread(killed.kill)
                kills += 1
                await asyncio.sleep(min(1.0, kill_every_s / 10))
                await asyncio.to_thread(killed.start_again)

        await callers.run(seconds, meanwhile=accidents)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not tasks, tasks
        at_rest = await asyncio.to_thread(wait_for, lambda: open_files(steady.pid) <= before[0].replica_files)
        after = held(steady)
        assert at_rest, (before[0], after)
        check_at_rest(steady)
        assert steady.drain() == 0  # a handler that is left would keep it until it is cut off
        assert "Traceback" not in steady.log()
    finally:
        for process in (steady, killed):
            process.kill()
    return callers.tally, kills, before[0], after


def check_at_rest(process: JudgeProcess) -> None:
    """Every call that began has ended."""
    metrics = scrape(process.metrics_port)
    assert metrics["rewardplane_queue_tokens", ()] == 0
    started, handled = (
        sum(n for (name, _), n in metrics.items() if name == f"grpc_server_{what}_total")
        for what in ("started", "handled")
    )
    assert started == handled


def check(tally: Tally, before: Held, after: Held) -> None:
    assert not tally.wrong, (len(tally.wrong), tally.wrong[:5])
    for caller in ("text", "tokens", "kserve", "flood"):
        assert tally.counts[f"{caller}: answered"]
        assert tally.counts[f"{caller}: bad pair named"]
    assert tally.counts["flood: QUEUE_FULL"]
    assert tally.counts["hung up"]
    assert after.callers_files <= before.callers_files + 2  # sockets to the replica that comes and goes


@pytest.mark.timeout(200)
async def test_a_short_soak_with_two_kills(tmp_path: Path) -> None:
    tally, kills, before, after = await soak(tmp_path, 15.0, 5.0, random.randrange(2**32))
    assert kills == 2
    check(tally, before, after)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_minutes_with_a_kill_every_30_s(tmp_path: Path) -> None:
    tally, kills, before, after = await soak(tmp_path, 600.0, 30.0, 20261126)
    write_figures(tally, kills, before, after)
    assert kills == 19
    check(tally, before, after)
    assert after.replica_mib < before.replica_mib + 30
    assert after.callers_mib < before.callers_mib + 30


def write_figures(tally: Tally, kills: int, before: Held, after: Held) -> None:
    """To benchmarks/results/soak.json and soak.md, when SOAK_RESULTS is set."""
    if not os.environ.get("SOAK_RESULTS"):
        return
    sys.path.append(str(ROOT / "benchmarks"))
    from result_file import Bar, write_results

    rows = [{"what": what, "number": number} for what, number in sorted(tally.counts.items())]
    of_it = {
        "kills of one replica (SIGKILL, started again)": kills,
        "MiB of the other replica after 1 and 10 minutes": f"{before.replica_mib:.0f}, {after.replica_mib:.0f}",
        "file descriptors of it": f"{before.replica_files}, {after.replica_files}",
        "MiB of the callers' process": f"{before.callers_mib:.0f}, {after.callers_mib:.0f}",
        "file descriptors of that": f"{before.callers_files}, {after.callers_files}",
    }
    rows += [{"what": what, "number": number} for what, number in of_it.items()]
    bars = [
        Bar("answers lost, swapped or refused without reason", len(tally.wrong), "at most 0"),
        Bar("largest error of a score", tally.largest_error, "at most 1e-5"),
        Bar("growth of the replica's memory, MiB", after.replica_mib - before.replica_mib, "at most 30"),
        Bar("growth of the callers' memory, MiB", after.callers_mib - before.callers_mib, "at most 30"),
    ]
    note = "10 minutes of mixed load on two replicas of a tiny reward model; 20 % of the requests have a bad pair."
    write_results("soak", "SOAK_RESULTS=1 make drill TESTS=tests/drills/test_soak.py", rows, bars, note)
