"""How long a request waited, told to whoever answers it."""

from __future__ import annotations

import asyncio
import time

import pytest
from rewardplane.services.common.queue_wait import measured_wait
from test_batcher import Device, batching, hold, unlike

from rewardplane.errors import DeadlineExceeded


async def test_the_wait_ends_when_the_first_of_several_forward_passes_begins() -> None:
    device = Device()
    async with batching(device, max_batch_tokens=20) as (batcher, _):
        held = await hold(device, batcher)
        with measured_wait() as wait:
            asked_s = time.monotonic()
            call = asyncio.create_task(batcher.submit(unlike(3, 20)))  # three batches
            await asyncio.sleep(0.2)
            freed_s = time.monotonic()
            device.free.set()
            await call
            ended_s = time.monotonic()
        await held
    assert 0.2 <= wait.seconds <= ended_s - asked_s
    assert wait.seconds - (freed_s - asked_s) < 0.1


async def test_calls_side_by_side_wait_once() -> None:
    device = Device()
    async with batching(device) as (batcher, _):
        held = await hold(device, batcher)
        with measured_wait() as wait:
            calls = [asyncio.create_task(batcher.submit(pairs)) for pairs in (unlike(1, 20), unlike(2, 20))]
            await asyncio.sleep(0.2)
            device.free.set()
            await asyncio.gather(*calls)
        await held
    assert 0.2 <= wait.seconds < 0.4


async def test_requests_do_not_see_each_others_wait() -> None:
    device = Device()

    async def ask(delay_s: float) -> float:
        await asyncio.sleep(delay_s)
        with measured_wait() as wait:
            await batcher.submit(unlike(1, 20))
        return wait.seconds

    async with batching(device) as (batcher, _):
        held = await hold(device, batcher)
        asked = [asyncio.create_task(ask(delay_s)) for delay_s in (0.0, 0.25)]
        await asyncio.sleep(0.3)
        device.free.set()
        first, second = await asyncio.gather(*asked)
        await held
    assert first - second > 0.2


async def test_pairs_that_never_came_to_a_forward_pass_have_no_wait() -> None:
    device = Device()
    async with batching(device) as (batcher, _):
        held = await hold(device, batcher)
        with measured_wait() as wait:
            call = asyncio.create_task(batcher.submit(unlike(1, 20), expires_at_s=time.monotonic() + 0.05))
            await asyncio.sleep(0.1)
            device.free.set()
            with pytest.raises(DeadlineExceeded):
                await call
        await held
    assert wait.seconds == 0.0
