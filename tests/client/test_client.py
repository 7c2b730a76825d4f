"""What Client and AsyncClient give back; every test runs once with each, against a real gRPC server."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
from peer_server import Peer

from rewardplane import (
    AsyncClient,
    ChatMessage,
    ChatPair,
    Client,
    InvalidRequest,
    ScoreKind,
    ServerFault,
    TextPair,
    TokenPair,
)
from rewardplane.v1 import logprob_service_pb2, scoring_service_pb2, types_pb2


def test_scores_come_back_in_order_as_float32(connect, served):
    peer = Peer()
    scores = connect(served(peer)).score([("q", "1.5"), ("q", "0.0"), ("q", "-2")])
    np.testing.assert_array_equal(scores.values, np.array([1.5, 0.0, -2.0], np.float32), strict=True)
    assert list(scores) == [1.5, 0.0, -2.0]
    assert len(scores) == 3
    assert scores[1] == 0.0
    assert scores[-2:] == [0.0, -2.0]
    assert np.asarray(scores, np.float64).sum() == -0.5
    assert scores.model_version.checkpoint_digest == "digest-1"
    assert scores.model_version.policy_version == 7


def test_a_batch_of_zeros_stays_a_batch_of_zeros(connect, served):
    # proto3 leaves default values off the wire; a repeated field must not.
    assert list(connect(served(Peer())).score([("q", "0")] * 5)) == [0.0] * 5


def test_every_form_of_a_pair_arrives_as_meant(connect, served):
    peer = Peer()
    messages = [{"role": "user", "content": "hi"}]
    connect(served(peer)).score(
        [
            ("q", "1"),
            TextPair("q", "2"),
            (messages, "3"),
            ChatPair((ChatMessage("user", "hi"),), "4"),
            TokenPair([1, 2], [3]),
        ]
    )
    one, two, three, four, five = peer.requests[0].pairs
    assert (one.text.question, one.text.answer, two.text.answer) == ("q", "1", "2")
    assert three.chat.messages == four.chat.messages == [types_pb2.ChatMessage(role="user", content="hi")]
    assert (three.chat.answer, four.chat.answer) == ("3", "4")
    assert five.tokens.question_ids == b"\x01\0\0\0\x02\0\0\0"
    assert five.tokens.answer_ids == b"\x03\0\0\0"


def test_logprobs_have_one_entry_for_each_answer_token(connect, served):
    peer = Peer()
    logprobs = connect(served(peer)).logprobs(
        [TokenPair([1], [4, 5, 6]), ("q", "a"), TokenPair([1], [2])], temperature=0.7
    )
    assert [values.tolist() for values in logprobs.values] == [[-0.5] * 3, [-0.5], [-0.5]]
    assert all(values.dtype == np.float32 for values in logprobs.values)
    assert peer.requests[0].temperature == pytest.approx(0.7)


def test_answers_come_back_by_question(connect, served):
    generated = connect(served(Peer())).generate(["a", "b"], answers_per_question=2, max_answer_tokens=9)
    assert [[answer.text for answer in group] for group in generated.answers] == [
        ["a/0", "a/1"],
        ["b/0", "b/1"],
    ]
    cut, finished = generated.answers[1]
    assert (cut.finished, finished.finished) == (False, True)
    assert finished.tokens.answer_ids.tolist() == [5, 2]
    assert finished.logprobs.tolist() == [-0.5, -0.5]
    assert generated.model_version.model_name == "peer"


def test_every_form_of_a_question_arrives_as_meant(connect, served):
    peer = Peer()
    questions = ["text", [1, 2], np.array([3], np.int64), [{"role": "user", "content": "hi"}]]
    connect(served(peer)).generate(questions, max_answer_tokens=4, temperature=0.0, seed=0)
    (request,) = peer.requests
    assert [q.WhichOneof("form") for q in request.questions] == ["text", "token_ids", "token_ids", "chat"]
    assert request.questions[1].token_ids == b"\x01\0\0\0\x02\0\0\0"
    assert (request.max_answer_tokens, request.answers_per_question) == (4, 1)
    # 0 is greedy and a seed like any other; unset would be temperature 1 and a seed of the server's choice.
    assert request.HasField("temperature")
    assert request.HasField("seed")


def test_info_describes_the_server(connect, served):
    info = connect(served(Peer())).info()
    assert info.model_version.model_name == "peer"
    assert info.score_kind is ScoreKind.REWARD
    assert info.load_time == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert info.stop_token_ids == (0, 2)
    assert (info.max_request_pairs, info.max_request_bytes) == (64, 1 << 20)


def test_nothing_is_asked_for_nothing(connect):
    client = connect("127.0.0.1:1")  # where nothing listens
    assert len(client.score([])) == 0
    assert client.logprobs([]).values == []
    assert client.generate([], max_answer_tokens=1).answers == ()


def test_credentials_and_metadata_reach_the_server(connect, served):
    peer = Peer()
    # Local credentials: a handshake like TLS's, without a certificate.
    target = served(peer, credentials=grpc.local_server_credentials())
    settings = {"credentials": grpc.local_channel_credentials(), "metadata": [("authorization", "Bearer t")]}
    assert list(connect(target, **settings).score([("q", "1")])) == [1.0]
    assert peer.metadata[0]["authorization"] == "Bearer t"


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_score_that_is_no_number_never_reaches_the_caller(connect, served, number):
    target = served(Peer())
    with pytest.raises(ServerFault, match=r"at \[1\]") as caught:
        connect(target).score([("q", "1"), ("q", number)])
    assert (caught.value.reason, caught.value.target) == ("NON_FINITE_SCORE", target)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_scores_is_the_servers_fault(connect, served, count):
    peer = Peer()
    peer.ScoreAnswers = lambda request, context: scoring_service_pb2.ScoreAnswersResponse(scores=[1.0] * count)
    with pytest.raises(ServerFault, match=f"{count} scores for 2 pairs") as caught:
        connect(served(peer)).score([("q", "1")] * 2)
    assert caught.value.reason == "MALFORMED_REPLY"


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ([], "0 arrays of log-probs for 1 pairs"),
        ([b"\0\0\0\0"], "1 log-probs for 2 answer tokens"),
        ([b"\0\0\0\0\0"], "5 bytes"),
        ([b"\0\0\0\0\0\0\xc0\x7f"], "nan"),
    ],
)
def test_broken_logprobs_are_the_servers_fault(connect, served, arrays, what):
    peer = Peer()
    peer.ComputeLogprobs = lambda request, context: logprob_service_pb2.ComputeLogprobsResponse(
        answer_logprobs=[logprob_service_pb2.AnswerLogprobs(logprobs=data) for data in arrays]
    )
    with pytest.raises(ServerFault, match=what):
        connect(served(peer)).logprobs([TokenPair([1], [2, 3])])


def test_all_bad_pairs_are_named_before_anything_is_sent(connect):
    with pytest.raises(InvalidRequest) as caught:
        connect("127.0.0.1:1").score(
            [("q", "a"), TokenPair([1], []), "text", ("q", None), ([{"role": "user"}], "a"), (TextPair, "a")]
        )
    assert [i for i, _ in caught.value.bad_pairs] == [1, 2, 3, 4, 5]
    assert "pairs[1]: the answer has no tokens" in str(caught.value)
    assert caught.value.target == ""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"answers_per_question": 0}, "INVALID_COUNT"),
        ({"seed": 2**63}, "INVALID_SEED"),
    ],
)
def test_settings_that_cannot_be_sent_are_refused(connect, settings, reason):
    with pytest.raises(InvalidRequest) as caught:
        connect("127.0.0.1:1").generate(["q"], max_answer_tokens=1, **settings)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ([], {}),
        ("", {}),
        ("a:1", {"timeout_s": 0}),
        ("a:1", {"timeout_s": float("inf")}),
        ("a:1", {"max_requests_in_flight": 0}),
    ],
)
def test_settings_that_never_work_are_refused_at_once(connect, target, settings):
    with pytest.raises(ValueError, match="wanted is"):
        connect(target, **settings)


def test_a_closed_client_says_so(served):
    client = Client(served(Peer()))
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.score([("q", "1")])


async def test_cancelling_a_task_ends_its_requests_on_the_server(served):
    peer = Peer()
    there, ended = threading.Event(), threading.Event()

    def hang(request, context):
        context.add_callback(ended.set)
        there.set()
        ended.wait(20)

    peer.on_request = hang
    async with AsyncClient(served(peer)) as client:
        task = asyncio.create_task(client.score([("q", "1")]))
        assert await asyncio.to_thread(there.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 10)


async def test_calls_of_one_async_client_run_at_once(served):
    peer = Peer()
    meeting = threading.Barrier(4, timeout=10)
    peer.on_request = lambda request, context: meeting.wait()
    async with AsyncClient(served(peer)) as client:
        results = await asyncio.gather(*(client.score([("q", str(i))]) for i in range(4)))
    assert [list(scores) for scores in results] == [[0.0], [1.0], [2.0], [3.0]]


def test_threads_share_a_client(served):
    peer = Peer()
    meeting = threading.Barrier(4, timeout=10)
    peer.on_request = lambda request, context: meeting.wait()
    results = {}
    with Client(served(peer)) as client:
        threads = [
            threading.Thread(target=lambda i=i: results.update({i: list(client.score([("q", str(i))]))}))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {i: [float(i)] for i in range(4)}
