"""Client and servers as deployed, behind a name with several addresses: replicas come and go, and no call is lost."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from dns_server import HeadlessService
from manifests import overlay
from servers import Served, served
from test_commands import config_of, servers

from rewardplane import Client
from rewardplane.errors import RewardplaneError

CALLERS = 4
AGE_S = 4.0
"""--max-connection-age-seconds of these servers; the manifests' 30 would take the tests as much longer."""
PRE_STOP_S = 1.5
"""More than the client's second between look-ups, as the manifests' 15 are."""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def replica(address: str, port: int, model: Path) -> Iterator[Served]:
    settings = config_of(dict(servers(overlay("dev-cpu")))["reward"])
    with served(
        "reward", model, host=address, port=port, drain_seconds=settings.drain_seconds, max_connection_age_seconds=AGE_S
    ) as server:
        yield server


def calls_of(server: Served) -> float:
    labels = {"grpc_service": "rewardplane.v1.ScoringService", "grpc_method": "ScoreAnswers"}
    return server.server.registry.get_sample_value("grpc_server_started_total", labels) or 0.0


class Callers:
    """Threads that ask for scores, without a pause, through one client."""

    def __init__(self, target: str) -> None:
        self.answered = 0
        self.failures: list[RewardplaneError] = []
        self._target = target
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def __enter__(self) -> Self:
        self._client = Client(self._target, timeout_s=20)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _call(self) -> None:
        while not self._stop.is_set():
            try:
                scores = self._client.score([("How was it?", "Good.")])
            except RewardplaneError as error:
                with self._lock:
                    self.failures.append(error)
            else:
                assert len(scores) == 1
                with self._lock:
                    self.answered += 1
            time.sleep(0.01)


def within(seconds: float, what: Callable[[], bool]) -> float:
    """How long it took."""
    began_s = time.monotonic()
    while not what():
        assert time.monotonic() - began_s < seconds
        time.sleep(0.05)
    return time.monotonic() - began_s


@pytest.mark.timeout(180)
def test_a_new_replica_gets_calls_within_10_seconds(reward_dir: Path, port: int) -> None:
    with ExitStack() as stack:
        name = stack.enter_context(HeadlessService(["127.0.0.2", "127.0.0.3"]))
        first, second = (stack.enter_context(replica(address, port, reward_dir)) for address in name.addresses)
        callers = stack.enter_context(Callers(name.target(port)))
        within(10, lambda: calls_of(first) > 20 and calls_of(second) > 20)
        third = stack.enter_context(replica("127.0.0.4", port, reward_dir))
        assert calls_of(third) == 0
        name.addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        within(10, lambda: calls_of(third) > 0)
        # And its share: all three take turns.
        before = [calls_of(server) for server in (first, second, third)]
        within(10, lambda: calls_of(third) > before[2] + 30)
        gained = [calls_of(server) - count for server, count in zip((first, second, third), before, strict=True)]
        assert min(gained) > 0.5 * max(gained)
        assert callers.failures == []


@pytest.mark.timeout(180)
def test_replacing_every_replica_loses_no_call(reward_dir: Path, port: int) -> None:
    with ExitStack() as stack:
        name = stack.enter_context(HeadlessService(["127.0.0.2", "127.0.0.3"]))
        old = {address: ExitStack() for address in name.addresses}
        for address, running in old.items():
            stack.enter_context(running)
            running.enter_context(replica(address, port, reward_dir))
        callers = stack.enter_context(Callers(name.target(port)))
        within(10, lambda: callers.answered > 50)
        new = []
        for (address, running), fresh in zip(old.items(), ("127.0.0.4", "127.0.0.5"), strict=True):
            new.append(stack.enter_context(replica(fresh, port, reward_dir)))  # ready, and only then
            name.addresses = [item for item in (*name.addresses, fresh) if item != address]
            time.sleep(PRE_STOP_S)
            running.close()  # SIGTERM: drains, ends
        within(10, lambda: all(calls_of(server) > 20 for server in new))
        assert callers.failures == []
        assert callers.answered > 300
