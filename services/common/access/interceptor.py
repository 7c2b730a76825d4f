"""Lets a call in, or says no before its request is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc

from rewardplane.errors import RewardplaneError

from ..handlers import Continuation, refusing, wrapped
from .caller import Caller, set_caller
from .doorman import Doorman
from .methods import NEEDED, OPEN


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic at run time
    """Goes inside the interceptor that counts calls and turns faults into statuses."""

    def __init__(self, doorman: Doorman, model_name: Callable[[], str]) -> None:
        self._doorman = doorman
        self._model_name = model_name

    async def intercept_service(self, continuation: Continuation, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or details.method in OPEN:
            return handler
        try:
            caller = self._doorman.by_metadata(details.invocation_metadata or ())
            if caller is not None:
                self._check(caller, details.method)
        except RewardplaneError as refusal:
            return refusing(refusal)
        around = partial(self._known, caller, details.method)
        return wrapped(handler, around, before_each=partial(self._still_known, details))

    @asynccontextmanager
    async def _known(self, caller: Caller | None, method: str, context: Any) -> AsyncIterator[None]:
        if caller is None:
            caller = self._doorman.by_certificate(context.auth_context())
            self._check(caller, method)
        set_caller(caller)
        yield

    def _still_known(self, details: Any, context: Any) -> None:
        """A stream outlives the credentials that it was opened with. Raises Unauthenticated and PermissionDenied."""
        caller = self._doorman.by_metadata(details.invocation_metadata or ())
        self._check(caller or self._doorman.by_certificate(context.auth_context()), details.method)

    def _check(self, caller: Caller, method: str) -> None:
        """Raises PermissionDenied."""
        try:
            caller.require_model(self._model_name())
            if needed := NEEDED.get(method):
                caller.require(needed)
        except RewardplaneError:
            self._doorman.count_not_allowed()
            raise
