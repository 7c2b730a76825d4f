"""Loads and unloads the served model when callers ask for it, as a Triton under explicit model control does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from rewardplane.modeling.checkpoint import BadCheckpoint, read_manifest
from rewardplane.process import give_back_freed_memory

from . import faults
from .engine import Engine
from .health import Health

log = logging.getLogger(__name__)


class ModelControl:
    """One call at a time. Lives on the event loop of the server."""

    def __init__(
        self,
        engine: Engine,
        health: Health,
        *,
        find: Callable[[], Path],
        serve: Callable[[Path], Awaitable[None]],
        replace: Callable[[Path], Awaitable[None]],
    ) -> None:
        """`find` gives the checkpoint to load, `serve` loads it where none is, `replace` beside the one that serves;
        all three raise BadCheckpoint."""
        self._engine = engine
        self._health = health
        self._find = find
        self._serve = serve
        self._replace = replace
        self._turn = asyncio.Lock()
        self._releasing: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Loads the checkpoint that the model directory has now, and is done when it serves.

        One that serves already stays. Another one takes its place without a lost call; if it cannot be served, the old
        one goes on. Raises InvalidRequest (LOAD_FAILED) then, ServerFault (LOAD_FAILED) when there is no checkpoint,
        and Unavailable (LOADING, DRAINING).
        """
        await asyncio.shield(asyncio.ensure_future(self._load()))  # a caller that goes away leaves nothing half done

    async def unload(self) -> None:
        """Refuses calls from now on; those that are inside are answered, and then the memory is given back.

        Does not wait for that. Raises Unavailable (LOADING, DRAINING).
        """
        async with self._turn:
            if self._engine.unloaded:
                return
            self._check()
            self._engine.withdraw()
            await self._health.not_serving()
            self._releasing = asyncio.create_task(self._release())

    async def _load(self) -> None:
        async with self._turn:
            self._check()
            if self._releasing:
                await self._releasing
                self._releasing = None
            name = self._engine.name
            try:
                directory = await asyncio.to_thread(self._find)
            except BadCheckpoint as error:
                raise faults.nothing_to_load(name, error) from error
            try:
                await self._bring(directory)
            except BadCheckpoint as error:
                log.error("%s was not loaded: %s", name, error)
                raise faults.load_failed(name, error) from error

    async def _bring(self, directory: Path) -> None:
        if not self._engine.unloaded:
            manifest = await asyncio.to_thread(read_manifest, directory)
            if manifest.digest != self._engine.model_version().checkpoint_digest:
                await self._replace(directory)
            return
        self._engine.expect()
        try:
            await self._serve(directory)
        except BaseException:
            self._engine.withdraw()
            raise

    async def _release(self) -> None:
        await self._engine.release()
        give_back_freed_memory()
        log.info("unloaded %s", self._engine.name)

    def _check(self) -> None:
        """Raises Unavailable unless the model serves, or is unloaded."""
        if not self._engine.unloaded and not self._engine.ready:
            raise self._engine.why_not_ready()
