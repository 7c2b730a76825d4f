"""The batcher: calls of all callers join one queue, and the compute threads take batches from it.

A thread takes the next batch itself, the moment it has finished the last one: it never waits while there
is work, and never for company. Jobs that are no batch of pairs (loading, sampling) run on the same threads;
when both wait, they take turns.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
from prometheus_client import CollectorRegistry

from rewardplane.modeling.fused.rows import on_threads
from rewardplane.modeling.packing import Share
from rewardplane.wire import TokenPair

from . import faults
from .access import current_caller
from .batch_metrics import BatchMetrics
from .calls import Call, Job
from .fair_queue import FairQueue, has_room
from .pair_queue import Entry, PairQueue
from .queue_wait import report_wait
from .served_model import RowTokens

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = (0.05, 30.0)
"""The least and the most that a refused caller is told to wait."""
STOP_S = 5.0
"""How long to wait for the batches, or the loading, that the compute threads are at when the process ends."""
NEVER = float("inf")

RunBatch = Callable[[Sequence[Entry]], tuple[Sequence[Any], RowTokens]]
"""Gives a result or a Fault for each entry, in their order. Runs on a compute thread."""


class Batcher:
    """One queue, and the threads that empty it. Made on the event loop that calls it."""

    def __init__(
        self,
        run_batch: RunBatch,
        *,
        max_batch_tokens: int,
        max_queue_tokens: int,
        threads: int,
        parallel: int = 1,
        share: Share,
        shared: bool = False,
        registry: CollectorRegistry,
    ) -> None:
        """`parallel` batches are computed side by side, with `threads` CPU threads each; one that is alone has kernels
        run on all of them. `shared`: identities have parts of the queue; else whoever comes may fill it."""
        self.max_batch_tokens = max_batch_tokens
        self.max_queue_tokens = max_queue_tokens
        self._metrics = BatchMetrics(registry, max_queue_tokens, parallel)
        self._run_batch = run_batch
        self._shared = shared
        self._threads = threads
        self._parallel = parallel
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # guards the six below
        self._idle: list[threading.Condition] = []
        self._pairs = PairQueue(share)
        self._jobs: FairQueue[Job[Any]] = FairQueue()
        self._computing = 0
        self._stopping = False
        self._tokens_per_s = 0.0
        self._workers = [threading.Thread(target=self._work, name=f"compute-{i}", daemon=True) for i in range(parallel)]
        for worker in self._workers:
            worker.start()

    async def submit(
        self,
        pairs: Sequence[TokenPair],
        temperature: float = 1.0,
        *,
        expires_at_s: float = NEVER,
        admitted: bool = False,
    ) -> list[Any]:
        """Gives what `run_batch` gives for each pair, in their order. Raises the first Fault of any of them.

        Raises Unavailable (QUEUE_FULL) at once when the queue has no room, and QuotaExceeded, unless the work was
        `admitted` before, and DeadlineExceeded. When the caller is cancelled, its pairs leave the queue.
        """
        if not pairs:
            return []
        call = Call(len(pairs), expires_at_s=expires_at_s, done=self._loop.create_future())
        entries = call.entries(pairs, temperature, time.monotonic())
        with self._lock:
            if not admitted:
                self._admit(sum(entry.tokens for entry in entries))
            for entry in entries:
                self._pairs.add(entry)
            self._queue_changed()
        try:
            return await call.done
        finally:
            report_wait(entries)
            self._forget_call(call, entries)

    async def run_alone(
        self, run: Callable[[], T], *, tokens: int = 0, expires_at_s: float = NEVER, admitted: bool = False
    ) -> T:
        """Runs something on a compute thread, between two batches. Raises what it and `submit` raise."""
        job: Job[T] = Job(run, self._loop.create_future(), tokens, expires_at_s)
        with self._lock:
            if tokens and not admitted:
                self._admit(tokens)
            self._jobs.add(job)
            self._queue_changed()
        try:
            return await job.done
        finally:
            self._forget_job(job)

    def require_room(self, tokens: int) -> None:
        """Raises what a request of at least so many tokens would be turned away with."""
        with self._lock:
            self._require_room(tokens)
        self._require_quota(0)

    def stop(self) -> None:
        """Ends the compute threads after the batches that they are at; what waits is not answered. Blocks."""
        with self._lock:
            self._stopping = True
            while self._idle:
                self._wake_one()
        end_s = time.monotonic() + STOP_S
        for worker in self._workers:
            worker.join(max(0.0, end_s - time.monotonic()))

    @property
    def queued_tokens(self) -> int:
        return self._pairs.tokens + self._jobs.tokens

    def _admit(self, tokens: int) -> None:
        """Raises Unavailable (QUEUE_FULL) and QuotaExceeded."""
        self._require_room(tokens)
        self._require_quota(tokens)
        if quota := current_caller().quota:
            quota.take(tokens)

    def _require_room(self, tokens: int) -> None:
        caller, queued, limit = current_caller(), self.queued_tokens, self.max_queue_tokens
        own = self._pairs.tokens_of(caller) + self._jobs.tokens_of(caller)
        if not has_room(tokens, own=own, queued=queued, limit=limit, shared=self._shared):
            least_s, most_s = RETRY_S
            wait_s = queued / self._tokens_per_s if self._tokens_per_s else 1.0
            raise faults.queue_full(queued, limit, min(max(wait_s, least_s), most_s))

    @staticmethod
    def _require_quota(tokens: int) -> None:
        quota = current_caller().quota
        if quota and (wait_s := quota.wait_s(tokens)):
            raise faults.quota_exceeded(quota.rate, wait_s)

    def _forget_call(self, call: Call, entries: Sequence[Entry]) -> None:
        """Takes the pairs of a call that is over out of the queue: its caller has gone, or one failed."""
        with self._lock:
            dropped = sum(self._pairs.remove(entry) for entry in entries)
            self._queue_changed()
        if dropped:
            self._metrics.count_dropped(dropped, call)

    def _forget_job(self, job: Job[Any]) -> None:
        with self._lock:
            if not self._jobs.remove(job):
                return
            self._queue_changed()
        self._metrics.count_dropped(1, job)

    def _queue_changed(self) -> None:
        self._metrics.queue_tokens.set(self.queued_tokens)
        self._metrics.queue_pairs.set(len(self._pairs))
        if self._idle and (self._pairs or self._jobs):
            self._wake_one()

    def _wake_one(self) -> None:
        """The one that was at work last: what it computed with is still in the caches."""
        self._idle.pop().notify()

    # Below: on the compute threads.

    def _work(self) -> None:
        # OpenMP counts threads per calling thread, so this must be said here.
        torch.set_num_threads(self._threads)
        after_job = False
        while (work := self._next(after_job)) is not None:
            after_job = isinstance(work, Job)
            if isinstance(work, Job):
                self._run_job(work)
            elif work:
                self._run_pairs(work)
            else:
                self._computed()

    def _next(self, after_job: bool) -> Job[Any] | list[Entry] | None:
        """The next job or batch; None when the thread is to end."""
        with self._lock:
            while not (self._jobs or self._pairs or self._stopping):
                woken = threading.Condition(self._lock)
                self._idle.append(woken)
                woken.wait()
            if self._stopping:
                return None
            self._computing += 1
            if self._jobs and not (after_job and self._pairs):
                job = self._jobs.next()
                self._queue_changed()
                return job
            batch, expired = self._pairs.take(self.max_batch_tokens, time.monotonic())
            self._queue_changed()
        if expired:
            self._metrics.dropped.labels("deadline").inc(len(expired))
            self._deliver(expired, [faults.deadline_passed()] * len(expired))
        return batch

    def _run_job(self, job: Job[Any]) -> None:
        try:
            if job.expires_at_s <= time.monotonic():
                self._metrics.dropped.labels("deadline").inc()
                raise faults.deadline_passed()
            told: tuple[Callable[..., None], object] = job.succeed, job.run()
        except Exception as error:  # whoever asked for the job gets it; the thread lives on
            told = job.fail, error
        self._computed()
        self._post(*told)

    def _run_pairs(self, batch: Sequence[Entry]) -> None:
        started_s = time.monotonic()
        for entry in batch:
            entry.started_at_s = started_s
        results: Sequence[Any]
        parts = self._parts()
        try:
            with on_threads(self._threads * self._parallel // parts):
                results, tokens = self._run_batch(batch)
        except Exception as error:  # this batch's callers get it; the thread lives on
            log.exception("the forward pass of %d pairs failed", len(batch))
            self._metrics.forward_failures.inc()
            results = [faults.forward_failed(error)] * len(batch)
        else:
            seconds = time.monotonic() - started_s
            self._metrics.observe_batch(batch, tokens, started_s, seconds)
            rate = parts * (tokens.computed + tokens.shared) / max(seconds, 1e-6)
            self._tokens_per_s += (rate - self._tokens_per_s) * (0.2 if self._tokens_per_s else 1.0)
        self._computed()
        self._deliver(batch, results)

    def _computed(self) -> None:
        """Before anybody hears of it: who comes back at once is alone again."""
        with self._lock:
            self._computing -= 1

    def _parts(self) -> int:
        """Into how many the threads are divided: a batch that is alone has all of them."""
        with self._lock:
            return 1 if self._computing == 1 and not self._pairs and not self._jobs else self._parallel

    def _deliver(self, entries: Sequence[Entry], results: Sequence[Any]) -> None:
        self._post(_settle, entries, results)

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)


def _settle(entries: Sequence[Entry], results: Sequence[Any]) -> None:
    for entry, result in zip(entries, results, strict=True):
        entry.settle(entry.index, result)
