"""How a batch becomes several requests, and what that must not change."""

from __future__ import annotations

import itertools
import threading

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peer_server import Peer, status

from rewardplane import InvalidRequest, MessageTooLarge
from rewardplane.splitting import split
from rewardplane.v1 import scoring_service_pb2, types_pb2

Code = grpc.StatusCode


def test_a_batch_is_split_by_pairs_and_joined_in_order(connect, served):
    peer = Peer(max_request_pairs=4)
    scores = connect(served(peer)).score([("q", str(i)) for i in range(10)])
    assert list(scores) == list(range(10))
    assert sorted(len(request.pairs) for request in peer.requests) == [2, 4, 4]
    assert peer.info_requests == 1


def test_a_batch_is_split_by_bytes_that_the_server_really_enforces(connect, served):
    digest = "d" * 64  # travels with every request and counts, too
    peer = Peer(digest=digest, max_request_bytes=1000)
    pairs = [("q" * (10 + 17 * i % 90), str(i)) for i in range(60)]
    scores = connect(served(peer, max_bytes=1000)).score(pairs, expected_checkpoint_digest=digest)
    assert list(scores) == list(range(60))
    assert max(request.ByteSize() for request in peer.requests) <= 1000
    assert len(peer.requests) < 10


def test_requests_of_one_batch_travel_together_but_no_more_than_allowed(connect, served):
    peer = Peer(max_request_pairs=1)
    meeting = threading.Barrier(3, timeout=10)  # passes only if three requests are there at once
    peer.on_request = lambda request, context: meeting.wait()
    assert list(connect(served(peer), max_requests_in_flight=3).score([("q", "1")] * 6)) == [1.0] * 6
    assert peer.most_in_flight == 3


def test_a_pair_that_fits_into_no_request_is_named(connect, served):
    peer = Peer(max_request_bytes=100)
    with pytest.raises(MessageTooLarge, match=r"pairs\[1\] .* this server accepts 100") as caught:
        connect(served(peer)).score([("q", "1"), ("q" * 200, "2")])
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert peer.requests == []


def test_bad_pairs_are_numbered_in_the_callers_batch(connect, served):
    peer = Peer(max_request_pairs=4)

    def refuse_9000(request, context):
        for i, pair in enumerate(request.pairs):
            if pair.text.answer == "9000":
                what = "has 9000 tokens; this server accepts 1024"
                context.abort_with_status(
                    status(
                        Code.INVALID_ARGUMENT,
                        f"pairs[{i}] {what}",
                        reason="INVALID_PAIRS",
                        violations=[(f"pairs[{i}]", what)],
                    )
                )

    peer.on_request = refuse_9000
    target = served(peer)
    with pytest.raises(InvalidRequest) as caught:
        connect(target).score([("q", "9000" if i == 6 else "1") for i in range(10)])
    assert caught.value.bad_pairs == ((6, "has 9000 tokens; this server accepts 1024"),)
    assert caught.value.reason == "INVALID_PAIRS"
    assert str(caught.value) == (
        f"{target}: INVALID_ARGUMENT INVALID_PAIRS: pairs[6] has 9000 tokens; this server accepts 1024"
    )


def test_a_long_list_of_bad_pairs_arrives_whole(connect, served):
    peer = Peer(max_request_pairs=512)
    faults = [(f"pairs[{i}]", "has 9000 tokens; this server accepts 1024") for i in range(400)]
    peer.refusals.append(status(Code.INVALID_ARGUMENT, "400 bad pairs", violations=faults))
    with pytest.raises(InvalidRequest) as caught:
        connect(served(peer)).score([("q", "1")] * 400)
    assert [i for i, _ in caught.value.bad_pairs] == list(range(400))


def test_questions_are_split_by_the_answers_they_ask_for(connect, served):
    peer = Peer(max_request_pairs=5)
    generated = connect(served(peer)).generate(["a", "b", "c"], answers_per_question=2, max_answer_tokens=4, seed=11)
    assert [[a.text for a in group] for group in generated.answers] == [[f"{q}/0", f"{q}/1"] for q in "abc"]
    assert sorted(len(request.questions) for request in peer.requests) == [1, 2]  # 2 * 2 <= 5 < 3 * 2
    first, second = sorted(peer.requests, key=lambda r: r.questions[0].text)
    assert first.seed == 11
    assert second.seed not in (11, 12)  # not the first's, nor that of the caller's next call


def test_one_question_may_take_several_requests(connect, served):
    peer = Peer(max_request_pairs=4)
    generated = connect(served(peer)).generate(["a", "b"], answers_per_question=9, max_answer_tokens=4, seed=3)
    assert [len(group) for group in generated.answers] == [9, 9]
    assert all(answer.text.startswith("b/") for answer in generated.answers[1])
    assert sorted(request.answers_per_question for request in peer.requests) == [1, 4, 4, 4, 4]
    assert len({request.seed for request in peer.requests}) == 5


@given(
    # Lengths around 128 and 16384, where protobuf's length prefix grows by a byte.
    lengths=st.lists(st.integers(0, 300) | st.integers(16_300, 16_500), min_size=1, max_size=30),
    max_items=st.integers(0, 8),
    max_bytes=st.integers(17_000, 40_000) | st.just(0),
)
def test_ranges_cover_the_batch_in_order_within_the_limits(lengths, max_items, max_bytes):
    empty = scoring_service_pb2.ScoreAnswersRequest(expected_checkpoint_digest="d" * 64)
    pairs = [types_pb2.QuestionAnswer(text=types_pb2.TextPair(answer="a" * n)) for n in lengths]
    ranges = split(
        [pair.ByteSize() for pair in pairs],
        max_items=max_items,
        max_bytes=max_bytes,
        overhead_bytes=empty.ByteSize(),
        noun="pairs",
    )
    assert [i for part in ranges for i in part] == list(range(len(lengths)))

    def size_bytes(part):
        request = scoring_service_pb2.ScoreAnswersRequest(expected_checkpoint_digest="d" * 64)
        request.pairs.extend(pairs[part.start : part.stop])
        return request.ByteSize()

    for part in ranges:
        assert not max_items or len(part) <= max_items
        assert not max_bytes or size_bytes(part) <= max_bytes
    for part, following in itertools.pairwise(ranges):
        longer = range(part.start, following.start + 1)  # no request could have taken one more
        assert (max_items and len(longer) > max_items) or (max_bytes and size_bytes(longer) > max_bytes)
