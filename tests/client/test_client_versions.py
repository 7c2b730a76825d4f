"""Which weights and which tokenizer a reply may come from."""

from __future__ import annotations

import itertools

import grpc
import pytest
from peer_server import Peer, status

from rewardplane import DigestMismatch, PreconditionFailed, TokenizerMismatch, TokenPair

Code = grpc.StatusCode


def test_two_checkpoints_in_one_batch_are_not_mixed(connect, served):
    peer = Peer(max_request_pairs=1)
    digests = itertools.cycle(["digest-1", "digest-2"])
    peer.on_request = lambda request, context: setattr(peer.version, "checkpoint_digest", next(digests))
    with pytest.raises(DigestMismatch, match="same batch") as caught:
        connect(served(peer), max_requests_in_flight=1).score([("q", "1")] * 2)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_the_expected_digest_is_sent_and_a_reply_from_another_is_refused(connect, served):
    peer = Peer(digest="digest-9")
    client = connect(served(peer))
    client.score([("q", "1")], expected_checkpoint_digest="digest-9")
    assert peer.requests[0].expected_checkpoint_digest == "digest-9"
    with pytest.raises(DigestMismatch, match="'digest-9' answered; 'digest-1' was expected"):
        client.score([("q", "1")], expected_checkpoint_digest="digest-1")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("CHECKPOINT_DIGEST_MISMATCH", DigestMismatch),
        ("TOKENIZER_MISMATCH", TokenizerMismatch),
        ("SOMETHING_NEW", PreconditionFailed),
    ],
)
def test_failed_preconditions_are_told_apart_by_reason(connect, served, reason, kind):
    peer = Peer()
    peer.refusals.append(status(Code.FAILED_PRECONDITION, "no", reason=reason))
    with pytest.raises(PreconditionFailed) as caught:
        connect(served(peer)).score([("q", "1")])
    assert type(caught.value) is kind
    assert caught.value.reason == reason
    assert len(peer.requests) == 1


def test_token_ids_are_pinned_to_the_tokenizer_first_seen(connect, served):
    peer = Peer(fingerprint="tokenizer-1")
    client = connect(served(peer))
    client.score([("q", "1")])
    client.score([("q", "1"), TokenPair([1], [2])])
    assert [request.tokenizer_fingerprint for request in peer.requests] == ["", "tokenizer-1"]

    peer.info.tokenizer_fingerprint = "tokenizer-2"  # another model was rolled out
    peer.info.model_version.checkpoint_digest = peer.version.checkpoint_digest = "digest-2"
    client.score([TokenPair([1], [2])])
    client.score([TokenPair([1], [2])])
    assert peer.info_requests == 2  # the new limits are known,
    assert peer.requests[-1].tokenizer_fingerprint == "tokenizer-1"  # and old ids must not pass for new ones
    client.info()  # asking again is how a caller takes up the new tokenizer
    client.score([TokenPair([1], [2])])
    assert peer.requests[-1].tokenizer_fingerprint == "tokenizer-2"


def test_a_tokenizer_given_by_the_caller_is_pinned_wherever_ids_travel(connect, served):
    peer = Peer()
    client = connect(served(peer), tokenizer_fingerprint="mine")
    client.score([TokenPair([1], [2])])
    client.generate(["q"], max_answer_tokens=2)  # gives token ids back
    client.score([("q", "1")])  # a reward model with another tokenizer is sent text
    assert [request.tokenizer_fingerprint for request in peer.requests] == ["mine", "mine", ""]


def test_the_limits_of_a_new_server_are_learned_when_it_refuses(connect, served):
    peer = Peer(max_request_pairs=8)
    client = connect(served(peer))
    client.score([("q", "1")] * 8)
    peer.info.max_request_pairs = 2

    def refuse_many(request, context):
        if len(request.pairs) > 2:
            context.abort_with_status(status(Code.INVALID_ARGUMENT, "8 > 2", reason="TOO_MANY_PAIRS"))

    peer.on_request = refuse_many
    assert list(client.score([("q", "1")] * 8)) == [1.0] * 8
    assert [len(request.pairs) for request in peer.requests] == [8, 8, 2, 2, 2, 2]
