"""Networks that delay, drop, cut off, fall silent or send a connection's bytes twice, between a client and a server.

What is promised: a call gives the right scores or one of rewardplane.errors, by its deadline; and when the network
is well again, so are the calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import rpc
from faulty_network import FaultyNetwork, faulty_network
from judge_process import JudgeProcess
from leaks import open_files, wait_for
from peer_forward import peer_score
from servers import Served
from tiny_models import REWARD_OFFSET

from rewardplane import Client
from rewardplane.errors import DeadlineExceeded, Unavailable
from rewardplane.retry import RetryPolicy
from rewardplane.wire import TokenPair

SOON = RetryPolicy(initial_backoff_s=0.02, max_backoff_s=0.1)
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def pairs() -> list[TokenPair]:
    rng = np.random.default_rng(5)
    return [TokenPair(rng.integers(3, 300, 30), rng.integers(3, 300, 30)) for _ in range(40)]


@pytest.fixture(scope="module")
def expected(pairs: list[TokenPair], reward_dir: Path) -> object:
    alone = [(pair.question_ids.tolist(), pair.answer_ids.tolist()) for pair in pairs]
    return pytest.approx(np.array(peer_score(reward_dir, alone)) - REWARD_OFFSET, abs=1e-5)


@pytest.fixture
def network(reward_server: Served) -> Iterator[FaultyNetwork]:
    with faulty_network(reward_server.target) as network:
        yield network


@pytest.fixture
def client(network: FaultyNetwork) -> Iterator[Client]:
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    with Client(network.target, timeout_s=TIMEOUT_S, retry=SOON, options=options) as client:
        yield client


def while_calling(call: Callable[[], object], act: Callable[[], object]) -> object:
    """What the call gives, which is under way when something happens."""
    results: list[object] = []
    caller = threading.Thread(target=lambda: results.append(call()))
    caller.start()
    act()
    caller.join(TIMEOUT_S)
    assert results, "the call has not ended"
    return results[0]


def test_a_slow_network_changes_no_score(
    client: Client, network: FaultyNetwork, pairs: list[TokenPair], expected: object
) -> None:
    network.change(delay_s=0.05, bytes_per_s=40_000)
    assert client.score(pairs).values == expected


def test_a_call_outlives_connections_that_are_cut(
    client: Client, network: FaultyNetwork, pairs: list[TokenPair], expected: object
) -> None:
    network.change(delay_s=0.05)

    def cut_three_times() -> None:
        for _ in range(3):
            assert wait_for(lambda: network.cut() > 0)

    assert while_calling(lambda: client.score(pairs).values, cut_three_times) == expected


@pytest.mark.parametrize("passed_bytes", [0, 5, 60, 150, 250])
def test_an_answer_cut_off_in_the_middle_is_asked_for_again(
    passed_bytes: int, client: Client, network: FaultyNetwork, pairs: list[TokenPair], expected: object
) -> None:
    """The settings of HTTP/2 are the first 60 bytes or so; the answer with its 40 scores comes after them."""
    network.change(cut_answers_after=passed_bytes)

    def heal_after_two() -> None:
        assert wait_for(lambda: len(network.sent) >= 2)
        network.change(cut_answers_after=None)

    assert while_calling(lambda: client.score(pairs).values, heal_after_two) == expected


def test_a_network_that_refuses_is_unavailable_at_the_deadline_and_well_afterwards(
    client: Client, network: FaultyNetwork, pairs: list[TokenPair], expected: object
) -> None:
    network.change(refuses=True)
    with pytest.raises(Unavailable, match=network.target):
        client.score(pairs, timeout_s=1.0)
    network.change(refuses=False)
    assert client.score(pairs).values == expected


def test_a_connection_that_falls_silent_ends_the_call_at_its_deadline(
    client: Client, network: FaultyNetwork, pairs: list[TokenPair], expected: object
) -> None:
    assert client.score(pairs).values == expected
    network.change(silent=True)
    with pytest.raises(DeadlineExceeded):
        client.score(pairs, timeout_s=1.0)
    network.change(silent=False)
    assert client.score(pairs).values == expected


def test_requests_that_arrive_twice_are_answered_twice_and_swap_nothing(
    client: Client, network: FaultyNetwork, reward_server: Served, pairs: list[TokenPair], expected: object
) -> None:
    answered = ("grpc_server_handled_total", ("OK", "ScoreAnswers", "rewardplane.v1.ScoringService"))
    assert client.score(pairs).values == expected
    network.cut()
    assert wait_for(lambda: bool(network.sent))
    before = reward_server.metrics()[answered]
    repeated = threading.Thread(target=network.send_again, args=(network.sent[0],))
    repeated.start()
    others = client.score(pairs[::-1]).values[::-1]
    repeated.join(30)
    assert others == expected
    assert wait_for(lambda: reward_server.metrics()[answered] >= before + 2), "theirs, and the one that came twice"


def test_a_reader_that_is_slow_holds_up_nobody_else(
    network: FaultyNetwork, client: Client, reward_server: Served, pairs: list[TokenPair], expected: object
) -> None:
    network.change(bytes_per_s=2_000)
    slow: list[object] = []
    reader = threading.Thread(target=lambda: slow.append(client.score(pairs).values))
    reader.start()
    with Client(reward_server.target, timeout_s=TIMEOUT_S) as quick:
        for _ in range(20):
            assert quick.score(pairs).values == expected
    network.change(bytes_per_s=None)
    reader.join(TIMEOUT_S)
    assert slow == [expected]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_replica_that_vanished_without_a_word_is_left_for_another(
    network: FaultyNetwork, reward_server: Served, pairs: list[TokenPair], expected: object
) -> None:
    """By keepalive: pings go out after 30 s of silence, and are waited for 10 s."""
    with Client([network.target, reward_server.target], timeout_s=120) as client:
        for _ in range(2):  # the targets take turns
            assert client.score(pairs).values == expected
        network.change(silent=True)
        for _ in range(2):
            assert client.score(pairs).values == expected


@pytest.mark.slow
def test_clients_that_vanish_leave_nothing_behind(reward_dir: Path, tmp_path: Path) -> None:
    """Half-open: the server is told nothing of 20 clients that are gone; their connections grow old."""
    process = JudgeProcess("reward", reward_dir, tmp_path, "--max-connection-age-seconds", "1")
    try:
        with grpc.insecure_channel(process.target) as channel:
            assert rpc.score(channel, [rpc.text("a", "b")]).scores
        files = open_files(process.pid)
        with faulty_network(process.target) as network:
            own = [("grpc.use_local_subchannel_pool", 1)]  # else they would share one connection
            clients = [grpc.insecure_channel(network.target, own) for _ in range(20)]
            for channel in clients:
                assert rpc.score(channel, [rpc.text("a", "b")]).scores
            assert open_files(process.pid) >= files + 10
            network.change(silent=True)
            left = wait_for(lambda: open_files(process.pid) <= files, 90.0)
            for channel in clients:
                channel.close()
        assert left, (files, open_files(process.pid))
    finally:
        process.kill()
