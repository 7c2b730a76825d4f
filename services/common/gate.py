"""The door of an engine: lets calls in or says why not, and knows when the last one has left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter

from rewardplane.errors import Unavailable

from . import faults
from .access import current_caller
from .callers import CallerMetrics
from .role import Capability, Role


class Gate:
    """Closed while the model is loaded, open, and closed again when the server drains."""

    def __init__(self, role: Role, registry: CollectorRegistry) -> None:
        self.loaded = False
        self.unloaded = False
        """A caller had the model unloaded; another may have it loaded again."""
        self.draining = False
        self._role = role
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.callers = CallerMetrics(registry)
        self._refused = Counter(
            "rewardplane_refused_total", "Calls that got an error, by its reason", ["reason"], registry=registry
        )
        for reason in faults.REASONS:
            self._refused.labels(reason)

    @contextmanager
    def call(self, capability: Capability, model_name: str) -> Iterator[None]:
        """Around a call. Raises Unavailable (LOADING, UNLOADED, DRAINING), Unimplemented and PermissionDenied, and
        counts every fault."""
        self._active += 1
        self._idle.clear()
        self.callers.count_call()
        try:
            self._check(capability, model_name)
            yield
        except faults.Fault as fault:
            self._refused.labels(fault.reason or fault.code.name).inc()
            raise
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    def _check(self, capability: Capability, model_name: str) -> None:
        if self.draining:
            raise faults.draining(model_name)
        if capability not in self._role.capabilities:
            raise faults.not_served(capability, self._role.name)
        current_caller().require(capability)
        if not self.loaded:
            raise self.why_not_ready(model_name)

    def why_not_ready(self, model_name: str) -> Unavailable:
        """What a call gets while the gate is closed."""
        if self.draining:
            return faults.draining(model_name)
        return faults.unloaded(model_name) if self.unloaded else faults.loading(model_name)

    async def idle(self) -> None:
        """Waits until no call is inside."""
        await self._idle.wait()

    async def drain(self, timeout_s: float) -> bool:
        """Refuses calls from now on, and waits for those that are inside. Says whether all of them left."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
