"""Work beside the event loop: a bounded line for texts to be tokenized, and threads that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from . import faults
from .access import Caller, current_caller
from .fair_queue import FairQueue, has_room

T = TypeVar("T")

SHORT = 2048
"""Characters that are tokenized in about a millisecond: too little for the way to another thread and back."""
CHARS_PER_TOKEN = 8
"""More than texts have, so that the bound on texts lets through what the bound on tokens would."""


@dataclass(eq=False)
class Texts(Generic[T]):
    """The texts of one request, which wait to be tokenized."""

    tokenize: Callable[[], T]
    tokens: int
    """In characters: the texts have not been tokenized yet."""
    turn: asyncio.Future[None]
    caller: Caller = field(default_factory=current_caller)


class TokenizerThread:
    """Tokenizes one request after the other, long ones so that the event loop goes on answering. Lives on that loop.

    One thread: a tokenizer is not made for several, and takes a hundredth of the forward pass.
    """

    def __init__(self, max_tokens: int, *, shared: bool = False) -> None:
        self._max_chars = CHARS_PER_TOKEN * max_tokens
        self._shared = shared
        self._waiting: FairQueue[Texts[Any]] = FairQueue()
        self._running: Texts[Any] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def run(self, tokenize: Callable[[], T], chars: int) -> T:
        """`chars` is the length of the texts. Raises Unavailable (QUEUE_FULL) when too many wait already."""
        if chars <= SHORT and self._running is None and not self._waiting:
            return tokenize()
        loop = asyncio.get_running_loop()
        texts = Texts(tokenize, chars, loop.create_future())
        own, queued = self._waiting.tokens_of(texts.caller), self._waiting.tokens
        if self._running is not None:
            queued += self._running.tokens
        if chars and not has_room(chars, own=own, queued=queued, limit=self._max_chars, shared=self._shared):
            waiting = queued // CHARS_PER_TOKEN
            raise faults.queue_full(waiting, self._max_chars // CHARS_PER_TOKEN, retry_after_s=1.0)
        self._waiting.add(texts)
        self._next_turn()
        try:
            await texts.turn
            return await loop.run_in_executor(self._thread, tokenize)
        finally:
            self._waiting.remove(texts)
            if self._running is texts:
                self._running = None
                self._next_turn()

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next_turn(self) -> None:
        if self._running is None and self._waiting:
            self._running = self._waiting.next()
            if not self._running.turn.done():  # else its caller has just gone, and gives the turn back as it ends
                self._running.turn.set_result(None)


async def in_daemon_thread(run: Callable[[], T]) -> T:
    """As asyncio.to_thread, for what may take minutes: the process does not wait for it when it ends."""
    done: Future[T] = Future()

    def call() -> None:
        try:
            result = run()
        except Exception as error:  # whoever awaits gets it
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=call, daemon=True).start()
    return await asyncio.wrap_future(done)
