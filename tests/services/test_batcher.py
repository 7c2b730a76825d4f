"""The queue and the batcher, without a model: what is in a batch, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from rewardplane.services.common.batcher import Batcher
from rewardplane.services.common.packed_model import row_step
from rewardplane.services.common.pair_queue import Entry, PairQueue
from rewardplane.services.common.row_count import count_row
from rewardplane.services.common.served_model import RowTokens

from rewardplane.errors import DeadlineExceeded, RewardplaneError, ServerFault, Unavailable
from rewardplane.modeling.fused.rows import threads
from rewardplane.modeling.packing import Share, pack
from rewardplane.wire import TokenPair

NEVER = float("inf")


def pair(question: Sequence[int], answer: Sequence[int]) -> TokenPair:
    return TokenPair(np.array(question, np.int32), np.array(answer, np.int32))


def entry(token_pair: TokenPair, *, temperature: float = 1.0, expires_at_s: float = NEVER) -> Entry:
    return Entry(token_pair, temperature, expires_at_s, 0.0, 0, lambda index, result: None)


def unlike(n: int, tokens: int) -> list[TokenPair]:
    """n pairs that share nothing."""
    return [pair([1000 * i + 1] * (tokens - 1), [1000 * i + 2]) for i in range(n)]


@pytest.mark.parametrize("share", ["question", "prefix"])
def test_a_shared_question_counts_once(share: Share) -> None:
    row = count_row(share)
    for answer in ([100, 1], [101, 1, 2], [102]):
        row.add(pair(list(range(32)), answer))
    assert row.tokens == 32 + 2 + 3 + 1


def test_a_system_prompt_counts_once_among_prefixes() -> None:
    prompt = list(range(100))
    rows = count_row("question"), count_row("prefix")
    for row in rows:
        row.add(pair([*prompt, 200], [300]))
        row.add(pair([*prompt, 201], [300]))
    assert [row.tokens for row in rows] == [204, 104]


PAIRS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=12
)


@settings(deadline=None)
@given(PAIRS)
def test_the_count_is_what_packing_lays_out(drawn: list[tuple[int, int, int, int]]) -> None:
    pairs = [pair([system] * 20 + [10 + topic] * n, [50] * a) for system, topic, n, a in drawn]
    pairs += [pair([9] * 15, [1]), pair([9] * 15, [2])]  # too short to be shared
    row = count_row("question")
    for one in pairs:
        row.add(one)
    assert row.tokens == pack(pairs, share="question", round_to=1).num_tokens


@settings(deadline=None)
@given(PAIRS)
def test_the_count_of_prefixes_is_near_what_packing_lays_out(drawn: list[tuple[int, int, int, int]]) -> None:
    pairs = [pair([system] * 20 + [10 + topic] * n, [50] * a) for system, topic, n, a in drawn]
    row = count_row("prefix")
    for one in pairs:
        row.add(one)
    # Of a run that is shared in steps, packing computes steps of fewer than 16 tokens again.
    laid_out = pack(pairs, share="prefix", round_to=1).num_tokens
    assert laid_out - 15 * len(pairs) <= row.tokens <= laid_out


def test_a_batch_is_cut_by_tokens() -> None:
    queue = PairQueue("question")
    for one in unlike(5, 40):
        queue.add(entry(one))
    batch, _ = queue.take(100, 0.0)
    assert len(batch) == 2  # 80 tokens; a third would make 120
    assert (len(queue), queue.tokens) == (3, 120)


def test_pairs_with_the_question_of_the_oldest_come_along() -> None:
    queue = PairQueue("question")
    question = [7] * 30
    first, other, sibling = entry(pair(question, [1])), entry(unlike(1, 30)[0]), entry(pair(question, [2]))
    for one in (first, other, sibling):
        queue.add(one)
    batch, _ = queue.take(40, 0.0)
    assert batch == [first, sibling]  # 32 tokens


def test_the_oldest_is_always_in_the_next_batch() -> None:
    queue = PairQueue("question")
    large = entry(pair([5] * 500, [6]))
    queue.add(large)
    for one in unlike(50, 10):
        queue.add(entry(one))
    assert queue.take(100, 0.0)[0] == [large]


def test_a_smaller_pair_does_not_pass_one_that_does_not_fit() -> None:
    queue = PairQueue("question")
    one, large, small = entry(unlike(1, 60)[0]), entry(pair([5] * 70, [6])), entry(pair([8] * 20, [9]))
    for each in (one, large, small):
        queue.add(each)
    assert queue.take(100, 0.0)[0] == [one]
    assert queue.take(100, 0.0)[0] == [large, small]


def test_a_batch_has_one_temperature() -> None:
    queue = PairQueue("question")
    for one, temperature in zip(unlike(4, 10), (1.0, 0.5, 1.0, 0.5), strict=True):
        queue.add(entry(one, temperature=temperature))
    assert [e.temperature for e in queue.take(100, 0.0)[0]] == [1.0, 1.0]
    assert [e.temperature for e in queue.take(100, 0.0)[0]] == [0.5, 0.5]


def test_what_is_past_its_deadline_is_not_computed() -> None:
    queue = PairQueue("question")
    late, in_time = entry(unlike(1, 10)[0], expires_at_s=5.0), entry(pair([9], [9]), expires_at_s=15.0)
    queue.add(late)
    queue.add(in_time)
    assert queue.take(100, 10.0) == ([in_time], [late])
    assert queue.tokens == 0


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 64))
def test_every_pair_leaves_the_queue_once(lengths: list[int], budget: int) -> None:
    queue = PairQueue("question")
    entries = [entry(pair([i % 3] * n, [i])) for i, n in enumerate(lengths)]
    for one in entries:
        queue.add(one)
    taken: list[Entry] = []
    oldest = iter(entries)
    while queue:
        waiting = next(e for e in oldest if e not in taken)
        batch, _ = queue.take(budget, 0.0)
        assert waiting in batch
        row = count_row("question")
        for one in batch:
            row.add(one.pair)
        assert row.tokens <= budget or len(batch) == 1
        taken.extend(batch)
    assert sorted(map(id, taken)) == sorted(map(id, entries))
    assert queue.tokens == 0


def test_rows_are_filled_up_a_little() -> None:
    for length in range(1, 3000):
        filled = -(-length // row_step(length)) * row_step(length)
        assert filled - length < max(4, length / 8)
    lengths = {-(-n // row_step(n)) * row_step(n) for n in range(1, 4097)}
    assert len(lengths) < 110  # distinct kernels that oneDNN keeps


class Device:
    """A forward pass that takes as long as the test wants, and says which batches it had."""

    def __init__(self) -> None:
        self.batches: list[list[TokenPair]] = []
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()
        self.error: Exception | None = None

    def run(self, batch: Sequence[Entry]) -> tuple[list[Any], RowTokens]:
        self.batches.append([e.pair for e in batch])
        self.busy.set()
        self.free.wait(30)
        if self.error:
            raise self.error
        return [int(e.pair.answer_ids[0]) for e in batch], RowTokens(sum(e.tokens for e in batch), 0, 0)


@asynccontextmanager
async def batching(device: Device, **limits: int) -> AsyncIterator[tuple[Batcher, CollectorRegistry]]:
    registry = CollectorRegistry()
    limits = {"max_batch_tokens": 100, "max_queue_tokens": 1000, **limits}
    batcher = Batcher(device.run, threads=1, share="question", registry=registry, **limits)
    try:
        yield batcher, registry
    finally:
        device.free.set()
        await asyncio.to_thread(batcher.stop)


async def hold(device: Device, batcher: Batcher) -> asyncio.Task[list[Any]]:
    """Makes the device busy with one pair."""
    device.free.clear()
    device.busy.clear()
    task = asyncio.create_task(batcher.submit([pair([999], [999])]))
    await asyncio.to_thread(device.busy.wait, 10)
    return task


async def test_a_batch_that_is_alone_has_all_threads() -> None:
    seen: list[int] = []
    first_is_in, go_on = threading.Event(), threading.Event()

    def run(batch: Sequence[Entry]) -> tuple[list[Any], RowTokens]:
        seen.append(threads())
        if len(seen) == 1:
            first_is_in.set()
            go_on.wait(10)
        return [0.0] * len(batch), RowTokens(1, 0, 0)

    device = Device()
    device.run = run  # type: ignore[method-assign]
    async with batching(device, parallel=2) as (batcher, _):
        alone = asyncio.create_task(batcher.submit(unlike(1, 4)))
        await asyncio.to_thread(first_is_in.wait, 10)
        await batcher.submit(unlike(1, 4))  # beside the first
        go_on.set()
        await alone
        await batcher.submit(unlike(1, 4))
    assert seen == [2, 1, 2]


async def test_two_batches_run_side_by_side_and_a_third_waits() -> None:
    meeting, at_work = threading.Barrier(2), threading.Semaphore(2)

    def run(batch: Sequence[Entry]) -> tuple[list[Any], RowTokens]:
        assert at_work.acquire(blocking=False), "three at a time"
        meeting.wait(10)  # breaks unless two are here
        at_work.release()
        return [int(e.pair.answer_ids[0]) for e in batch], RowTokens(20, 0, 0)

    device = Device()
    device.run = run  # type: ignore[method-assign]
    async with batching(device, max_batch_tokens=20, parallel=2) as (batcher, registry):
        pairs = [pair([i] * 19, [i]) for i in range(6)]  # a batch each
        assert await batcher.submit(pairs) == list(range(6))
        assert registry.get_sample_value("rewardplane_parallel_batches") == 2


async def test_a_job_does_not_stop_the_other_thread() -> None:
    go = threading.Event()
    async with batching(Device(), parallel=2) as (batcher, _):
        job = asyncio.create_task(batcher.run_alone(lambda: go.wait(10)))
        await asyncio.sleep(0)
        assert await batcher.submit([pair([1], [2])]) == [2]
        go.set()
        assert await job


async def test_results_come_back_in_the_order_of_the_request() -> None:
    async with batching(Device(), max_batch_tokens=20) as (batcher, _):
        pairs = [pair([i % 4] * 8, [i]) for i in range(40)]
        assert await batcher.submit(pairs) == list(range(40))


async def test_callers_share_a_batch_when_the_device_was_busy() -> None:
    device = Device()
    async with batching(device) as (batcher, _):
        held = await hold(device, batcher)
        calls = [asyncio.create_task(batcher.submit([one])) for one in unlike(4, 10)]
        await asyncio.sleep(0.05)
        device.free.set()
        await asyncio.gather(held, *calls)
    assert [len(batch) for batch in device.batches] == [1, 4]


async def test_an_idle_device_takes_a_pair_at_once() -> None:
    async with batching(Device()) as (batcher, _):
        await batcher.submit([pair([1], [1])])
        started_s = time.monotonic()
        for _ in range(20):
            await batcher.submit([pair([1], [1])])
        assert (time.monotonic() - started_s) / 20 < 0.02


async def test_a_full_queue_turns_callers_away_and_says_when_to_come_again() -> None:
    device = Device()
    async with batching(device, max_queue_tokens=100) as (batcher, _):
        held = await hold(device, batcher)
        waiting = asyncio.create_task(batcher.submit(unlike(1, 60)))
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable) as refused:
            await batcher.submit(unlike(1, 60))
        assert refused.value.reason == "QUEUE_FULL"
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s > 0
        assert batcher.queued_tokens == 60
        device.free.set()
        await asyncio.gather(held, waiting)


async def test_an_empty_queue_takes_a_request_of_any_size() -> None:
    async with batching(Device(), max_queue_tokens=100) as (batcher, _):
        assert len(await batcher.submit(unlike(20, 50))) == 20


async def test_a_caller_that_goes_takes_its_pairs_along() -> None:
    device = Device()
    async with batching(device) as (batcher, registry):
        held = await hold(device, batcher)
        gone = asyncio.create_task(batcher.submit(unlike(3, 30)))
        await asyncio.sleep(0.01)
        assert batcher.queued_tokens == 90
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert batcher.queued_tokens == 0
        device.free.set()
        await held
        assert len(device.batches) == 1
        assert registry.get_sample_value("rewardplane_dropped_total", {"reason": "caller_gone"}) == 3


async def test_a_deadline_that_passes_in_the_queue_costs_no_forward() -> None:
    device = Device()
    async with batching(device) as (batcher, registry):
        held = await hold(device, batcher)
        late = asyncio.create_task(batcher.submit(unlike(2, 30), expires_at_s=time.monotonic() + 0.05))
        await asyncio.sleep(0.1)
        device.free.set()
        with pytest.raises(DeadlineExceeded):
            await late
        await held
        assert len(device.batches) == 1
        assert registry.get_sample_value("rewardplane_dropped_total", {"reason": "deadline"}) == 2


async def test_a_failing_forward_fails_its_callers_and_nobody_else() -> None:
    device = Device()
    async with batching(device) as (batcher, registry):
        device.error = RuntimeError("out of memory")
        with pytest.raises(ServerFault) as failed:
            await batcher.submit(unlike(1, 10))
        assert failed.value.reason == "FORWARD_FAILED"
        assert "out of memory" not in failed.value.message  # internals stay in the log
        device.error = None
        assert await batcher.submit([pair([1], [5])]) == [5]
        assert registry.get_sample_value("rewardplane_forward_failures_total") == 1


async def test_jobs_and_batches_take_turns() -> None:
    device = Device()
    ran: list[str] = []
    async with batching(device, max_batch_tokens=10) as (batcher, _):
        held = await hold(device, batcher)
        jobs = [asyncio.create_task(batcher.run_alone(lambda i=i: ran.append(f"job {i}"))) for i in range(3)]
        calls = [asyncio.create_task(batcher.submit([one])) for one in unlike(3, 10)]
        await asyncio.sleep(0.05)
        original = device.run
        batcher._run_batch = lambda batch: (ran.append("batch"), original(batch))[1]
        device.free.set()
        await asyncio.gather(held, *jobs, *calls)
        assert ran == ["job 0", "batch", "job 1", "batch", "job 2", "batch"]


async def test_a_job_raises_to_whoever_asked_for_it() -> None:
    def fail() -> None:
        raise ValueError("no such file")

    async with batching(Device()) as (batcher, _):
        with pytest.raises(ValueError, match="no such file"):
            await batcher.run_alone(fail)
        assert await batcher.submit([pair([1], [5])]) == [5]


async def test_one_bad_pair_fails_its_request_only() -> None:
    device = Device()
    fault = ServerFault("pairs[0]: not finite", reason="NON_FINITE_SCORE")

    def run(batch: Sequence[Entry]) -> tuple[list[Any], RowTokens]:
        time.sleep(0.05)  # so that the fault is heard of while the request's other pairs wait
        results, tokens = device.run(batch)
        return [fault if result == 13 else result for result in results], tokens

    async with batching(device) as (batcher, registry):
        batcher._run_batch = run
        bad = asyncio.create_task(batcher.submit([pair([1], [13]), *unlike(20, 30)]))
        good = asyncio.create_task(batcher.submit([pair([1], [14])]))
        with pytest.raises(RewardplaneError, match="not finite"):
            await bad
        assert await good == [14]
        assert batcher.queued_tokens == 0
        assert registry.get_sample_value("rewardplane_dropped_total", {"reason": "call_failed"}) > 0
    assert sum(map(len, device.batches)) < 22
