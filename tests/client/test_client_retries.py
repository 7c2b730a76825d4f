"""When a client asks again, whom, and when it gives up."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from peer_server import Peer, serving, status

from rewardplane import (
    DeadlineExceeded,
    InvalidRequest,
    MessageTooLarge,
    PermissionDenied,
    QuotaExceeded,
    RetryPolicy,
    ServerFault,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

Code = grpc.StatusCode


def test_a_full_server_is_asked_again_after_the_time_it_names(connect, served):
    peer = Peer()
    full = status(Code.UNAVAILABLE, "queue full", reason="QUEUE_FULL", retry_after_s=0.3)
    peer.refusals.extend([full, full])
    client = connect(served(peer))
    client.info()
    start_s = time.monotonic()
    assert list(client.score([("q", "1")])) == [1.0]
    assert 0.6 <= time.monotonic() - start_s < 5
    assert len(peer.requests) == 3


def test_a_wait_that_would_pass_the_deadline_is_not_begun(connect, served):
    peer = Peer()
    peer.refusals.append(status(Code.UNAVAILABLE, "draining", reason="DRAINING", retry_after_s=30))
    target = served(peer)
    start_s = time.monotonic()
    with pytest.raises(Unavailable, match="draining") as caught:
        connect(target, timeout_s=10).score([("q", "1")])
    assert time.monotonic() - start_s < 5
    assert (caught.value.reason, caught.value.target) == ("DRAINING", target)
    assert caught.value.retry_after_s == 30.0


def test_a_server_that_is_not_there_is_named_when_the_deadline_is_near(connect):
    client = connect("127.0.0.1:1", timeout_s=0.5)
    start_s = time.monotonic()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as caught:
        client.score([("q", "1")])
    assert time.monotonic() - start_s < 2
    assert caught.value.code is Code.UNAVAILABLE


def test_a_server_that_stops_in_the_middle_is_asked_again(connect, served):
    peer = Peer()
    peer.refusals.append(status(Code.CANCELLED, "server stopped"))
    assert list(connect(served(peer)).score([("q", "1")])) == [1.0]


def test_only_a_quota_that_names_a_time_is_asked_again(connect, served):
    peer = Peer()
    peer.refusals.append(status(Code.RESOURCE_EXHAUSTED, "quota", retry_after_s=0.01))
    target = served(peer)
    client = connect(target)
    assert list(client.score([("q", "1")])) == [1.0]
    peer.refusals.append(status(Code.RESOURCE_EXHAUSTED, "too large"))
    with pytest.raises(MessageTooLarge):
        client.score([("q", "1")])
    assert len(peer.requests) == 3
    peer.refusals.append(status(Code.RESOURCE_EXHAUSTED, "quota", retry_after_s=30))
    with pytest.raises(QuotaExceeded) as caught:
        connect(target, timeout_s=5).score([("q", "1")])
    assert caught.value.retry_after_s == 30.0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code.INVALID_ARGUMENT, InvalidRequest),
        (Code.UNAUTHENTICATED, Unauthenticated),
        (Code.PERMISSION_DENIED, PermissionDenied),
        (Code.DEADLINE_EXCEEDED, DeadlineExceeded),
        (Code.INTERNAL, ServerFault),
        (Code.UNKNOWN, ServerFault),
        (Code.DATA_LOSS, ServerFault),
    ],
)
def test_other_refusals_are_final(connect, served, code, kind):
    peer = Peer()
    peer.refusals.append(status(code, "because", reason="SOME_REASON"))
    target = served(peer)
    with pytest.raises(kind, match="because") as caught:
        connect(target).score([("q", "1")])
    assert (caught.value.code, caught.value.reason, caught.value.target) == (code, "SOME_REASON", target)
    assert len(peer.requests) == 1


def test_retries_can_be_switched_off(connect, served):
    peer = Peer()
    peer.refusals.append(status(Code.UNAVAILABLE, "full"))
    with pytest.raises(Unavailable):
        connect(served(peer), retry=RetryPolicy(max_attempts=1)).score([("q", "1")])


def test_a_slow_server_runs_into_the_deadline(connect, served):
    peer = Peer()
    released = threading.Event()
    peer.on_request = lambda request, context: released.wait(20)
    client = connect(served(peer))
    client.info()
    start_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.score([("q", "1")], timeout_s=0.3)
    assert time.monotonic() - start_s < 3
    released.set()


def test_one_failure_ends_the_other_requests_of_its_batch(connect, served):
    peer = Peer(max_request_pairs=1)
    ended = threading.Event()
    both_there = threading.Barrier(2, timeout=10)

    def fail_or_hang(request, context):
        hangs = request.pairs[0].text.answer == "1"
        if hangs:
            context.add_callback(ended.set)
        both_there.wait()
        if hangs:
            ended.wait(20)
        else:
            context.abort_with_status(status(Code.INTERNAL, "broken", reason="NON_FINITE_SCORE"))

    peer.on_request = fail_or_hang
    start_s = time.monotonic()
    with pytest.raises(ServerFault, match="broken"):
        connect(served(peer)).score([("q", "1"), ("q", "2")])
    assert time.monotonic() - start_s < 10
    assert ended.wait(10)


def test_a_capability_that_is_not_served_is_said_to_be_so(connect, served):
    client = connect(served(Peer(), services=("Scoring", "Model")))
    with pytest.raises(Unimplemented):
        client.logprobs([("q", "a")])


def test_retries_draw_from_no_random_numbers_of_the_program(connect, served):
    peer = Peer()
    peer.refusals.extend([status(Code.UNAVAILABLE, "full")] * 3)
    random.seed(1)
    np.random.seed(1)
    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    connect(served(peer)).score([("q", "1")])
    assert random.getstate() == python
    np.testing.assert_array_equal(np.random.get_state()[1], numpy)


def test_listed_replicas_take_turns(connect, served):
    peers = [Peer(), Peer()]
    client = connect([served(peer) for peer in peers])
    for _ in range(8):
        client.score([("q", "1")])
    assert all(len(peer.requests) >= 3 for peer in peers)


def test_a_listed_replica_stands_in_for_a_dead_or_full_one(connect, served):
    full, well = Peer(), Peer()
    full.refusals.extend([status(Code.UNAVAILABLE, "full", retry_after_s=60)] * 9)
    client = connect(["127.0.0.1:1", served(full), served(well)], timeout_s=10)
    for _ in range(6):
        assert list(client.score([("q", "1")])) == [1.0]
    assert len(well.requests) == 6


def test_the_addresses_of_one_name_take_turns(connect, served):
    peers = [Peer(), Peer()]
    client = connect("ipv4:" + ",".join(served(peer) for peer in peers))
    deadline_s = time.monotonic() + 20
    while not all(peer.requests for peer in peers) and time.monotonic() < deadline_s:
        client.score([("q", "1")])
    assert all(peer.requests for peer in peers)


def test_a_call_outlives_the_restart_of_its_server(connect):
    with serving(Peer(), "127.0.0.1:0") as target:
        client = connect(target, timeout_s=30)
        client.score([("q", "1")])
    restarted = Peer()
    with ExitStack() as stack:
        timer = threading.Timer(0.5, lambda: stack.enter_context(serving(restarted, target)))
        timer.start()
        assert list(client.score([("q", "2")])) == [2.0]
        timer.join()
    assert len(restarted.requests) == 1
