"""The clients that every test here runs with, and the server they talk to."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from peer_server import serving

from rewardplane import AsyncClient, Client


@pytest.fixture(params=["sync", "aio"])
def connect(request):
    """Gives a function that makes a client of either kind, whose methods return their results."""
    with ExitStack() as opened:

        def connect(target, **settings):
            if request.param == "sync":
                return opened.enter_context(Client(target, **settings))
            runner = opened.enter_context(asyncio.Runner())
            client = AsyncClient(target, **settings)
            opened.callback(lambda: runner.run(client.close()))
            return Awaited(client, runner)

        yield connect


class Awaited:
    def __init__(self, client, runner):
        self._client, self._runner = client, runner

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))


@pytest.fixture
def served():
    """Gives a function that serves a peer until the test ends, and returns its address."""
    with ExitStack() as started:
        yield lambda peer, *args, **settings: started.enter_context(serving(peer, *args, **settings))
