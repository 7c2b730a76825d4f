"""Keeps a server's compute thread busy, so that calls wait as long as a test wants."""

from __future__ import annotations

import asyncio
import threading

from servers import Served


def hold_compute(server: Served) -> threading.Event:
    """Until the event that is given back is set; of a server with one compute thread."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(30)

    async def start() -> asyncio.Future[None]:
        return asyncio.ensure_future(server.server.engine._compute.batcher.run_alone(hold))

    asyncio.run_coroutine_threadsafe(start(), server.loop).result(10)
    held.wait(10)
    return release
