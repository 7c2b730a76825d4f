"""Work beside the event loop: a bounded line for texts to be tokenized, and threads that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from . import faults

T = TypeVar("T")

CHARS_PER_TOKEN = 8
"""More than texts have, so that the bound on texts lets through what the bound on tokens would."""


class TokenizerThread:
    """Tokenizes one request after the other, so that the event loop goes on answering.

    One thread: a tokenizer is not made for several, and takes a hundredth of the forward pass.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_chars = CHARS_PER_TOKEN * max_tokens
        self._chars = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")

    async def run(self, tokenize: Callable[[], T], chars: int) -> T:
        """`chars` is the length of the texts. Raises Unavailable (QUEUE_FULL) when too many wait already."""
        if self._chars and self._chars + chars > self._max_chars:
            waiting = self._chars // CHARS_PER_TOKEN
            raise faults.queue_full(waiting, self._max_chars // CHARS_PER_TOKEN, retry_after_s=1.0)
        self._chars += chars
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, tokenize)
        finally:
            self._chars -= chars

    def stop(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


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
