"""Texts that wait to be tokenized are bounded, as tokens are."""

from __future__ import annotations

import asyncio
import threading

import pytest
from rewardplane.services.common.background import CHARS_PER_TOKEN, SHORT, TokenizerThread, in_daemon_thread

from rewardplane.errors import Unavailable


async def test_texts_that_wait_are_bounded() -> None:
    tokenizer = TokenizerThread(max_tokens=SHORT)
    release = threading.Event()
    first = asyncio.create_task(tokenizer.run(lambda: release.wait(10), SHORT * CHARS_PER_TOKEN))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await tokenizer.run(lambda: None, 1)
    assert refused.value.reason == "QUEUE_FULL"
    release.set()
    assert await first
    assert await tokenizer.run(lambda: 7, 2 * SHORT * CHARS_PER_TOKEN) == 7  # alone, any size is taken
    tokenizer.stop()


async def test_a_daemon_thread_hands_its_result_and_its_error_back() -> None:
    assert await in_daemon_thread(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)


async def test_callers_that_hang_up_together_leave_the_turn_to_the_next() -> None:
    tokenizing = TokenizerThread(max_tokens=SHORT)
    begun, go_on = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        go_on.wait(10)

    first = asyncio.create_task(tokenizing.run(block, SHORT + 1))
    await asyncio.to_thread(begun.wait, 10)
    second, third = (asyncio.create_task(tokenizing.run(lambda: "tokens", 1)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    go_on.set()
    ends = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(end) for end in ends[:2]] == [asyncio.CancelledError] * 2
    assert ends[2] == "tokens"
    tokenizing.stop()


async def test_a_short_text_is_tokenized_at_once_but_not_before_those_that_wait() -> None:
    tokenizing = TokenizerThread(max_tokens=SHORT)
    order: list[str] = []
    assert await tokenizing.run(threading.current_thread, SHORT) is threading.current_thread()
    release = threading.Event()
    calls = [asyncio.create_task(tokenizing.run(lambda: release.wait(10), SHORT + 1))]
    await asyncio.sleep(0)
    for name in ("second", "third"):
        calls.append(asyncio.create_task(tokenizing.run(lambda name=name: order.append(name) or name, 1)))  # type: ignore[misc]
        await asyncio.sleep(0)
    assert order == []
    release.set()
    assert await asyncio.gather(*calls) == [True, "second", "third"]
    assert order == ["second", "third"]
    tokenizing.stop()
