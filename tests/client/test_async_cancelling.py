"""Calls of AsyncClient whose tasks are cancelled: nothing of them stays."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import threading
from typing import ClassVar

import pytest
from peer_server import Peer

from rewardplane import AsyncClient


class Mallinfo2(ctypes.Structure):
    """Of glibc's malloc.h."""

    _fields_: ClassVar = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


def bytes_in_use() -> int:
    """That malloc has handed out and not got back, in all of its arenas."""
    gc.collect()
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    found = mallinfo2()
    return found.uordblks + found.hblkhd


def hang(request, context):
    """Until the caller is gone."""
    gone = threading.Event()
    if context.add_callback(gone.set):
        gone.wait(20)


async def cancel_calls(client: AsyncClient, rounds: int) -> None:
    """20 calls a round."""
    for _ in range(rounds):
        tasks = [asyncio.create_task(client.score([("q", "1")])) for _ in range(20)]
        await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True)
        )
    await asyncio.sleep(0.2)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc >= 2.33 says what is in use")
async def test_cancelled_calls_leave_no_memory_behind(served):
    peer = Peer()
    async with AsyncClient(served(peer)) as client:
        await client.info()
        peer.on_request = hang
        await cancel_calls(client, 30)
        before = bytes_in_use()
        await cancel_calls(client, 40)
        assert (bytes_in_use() - before) / 800 < 800  # the peer is in this process, too; grpc.aio alone keeps 965


async def test_a_call_that_fails_when_its_task_is_cancelled_is_not_spoken_of(served, caplog):
    """asyncio logs the exceptions that nobody has asked for."""
    peer = Peer()
    async with AsyncClient(served(peer)) as client:
        await client.info()
        peer.on_request = hang
        await cancel_calls(client, 2)
        gc.collect()
    assert "never retrieved" not in caplog.text
