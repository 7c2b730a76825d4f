"""What a request may hold: all of it is checked, all that is bad is named, nothing is computed."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import rpc
from servers import Served, served
from tiny_models import save_tiny

from rewardplane.v1 import types_pb2


@pytest.fixture(scope="module")
def fingerprint(reward_server: Served) -> str:
    return rpc.info(reward_server.channel).tokenizer_fingerprint


def test_every_bad_pair_is_named_and_nothing_is_computed(reward_server: Served, fingerprint: str) -> None:
    before = reward_server.metrics()["rewardplane_batch_pairs_count", ()]
    pairs = [
        rpc.text("fine", "fine"),
        rpc.text("no answer", ""),
        rpc.tokens([1], [320]),
        rpc.tokens([-1], [3]),
        rpc.tokens([1] * 200, [1] * 57),
        rpc.tokens([], [3]),
        rpc.tokens([1], []),
        types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(question_ids=b"\1\0\0\0", answer_ids=b"\1\0\0")),
        types_pb2.QuestionAnswer(),
        types_pb2.QuestionAnswer(chat=types_pb2.ChatPair(answer="a")),
        rpc.text("fine", "fine"),
    ]
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, pairs, tokenizer_fingerprint=fingerprint))
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failed.reason, failed.domain) == ("INVALID_PAIRS", "rewardplane.dev")
    assert list(failed.violations) == [f"pairs[{i}]" for i in range(1, 10)]
    assert "320 is outside the vocabulary (0 to 319)" in failed.violations["pairs[2]"]
    assert "-1" in failed.violations["pairs[3]"]
    assert "257 tokens; at most 256" in failed.violations["pairs[4]"]
    assert "pairs[1]" in failed.message
    assert reward_server.metrics()["rewardplane_batch_pairs_count", ()] == before


def test_256_bad_pairs_are_all_named(reward_server: Served) -> None:
    """gRPC refuses trailing metadata above 8 KiB, so descriptions give way, and indices never do."""
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, [rpc.text("a", "")] * 256))
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failed.violations) == [f"pairs[{i}]" for i in range(256)]
    assert failed.violations["pairs[0]"] == "the answer is empty"


def test_too_many_pairs(reward_server: Served) -> None:
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, [rpc.text("a", "b")] * 257))
    assert failed.reason == "TOO_MANY_PAIRS"
    assert "257" in failed.message
    assert "256" in failed.message


def test_token_ids_need_the_name_of_their_tokenizer(reward_server: Served) -> None:
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, [rpc.tokens([1], [2])]))
    assert failed.reason == "TOKENIZER_FINGERPRINT_REQUIRED"
    assert failed.violations.keys() == {"tokenizer_fingerprint"}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_positive(reference_server: Served, temperature: float) -> None:
    failed = rpc.failure(lambda: rpc.logprobs(reference_server.channel, [rpc.text("a", "b")], temperature=temperature))
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.reason == "INVALID_TEMPERATURE"


def test_a_conversation_needs_a_chat_template(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward")
    message = types_pb2.ChatMessage(role="user", content="a")
    chat = types_pb2.QuestionAnswer(chat=types_pb2.ChatPair(messages=[message], answer="b"))
    with served("reward", tmp_path / "rm") as server:
        failed = rpc.failure(lambda: rpc.score(server.channel, [chat]))
    assert "chat template" in failed.violations["pairs[0]"]


def test_a_server_may_be_told_to_take_shorter_pairs(reward_dir: Path, fingerprint: str) -> None:
    with served("reward", reward_dir, max_pair_tokens=10) as server:
        assert rpc.info(server.channel).max_pair_tokens == 10
        failed = rpc.failure(
            lambda: rpc.score(server.channel, [rpc.tokens([1] * 8, [2] * 3)], tokenizer_fingerprint=fingerprint)
        )
        assert "11 tokens; at most 10" in failed.violations["pairs[0]"]


def test_a_request_over_the_byte_limit_must_not_be_retried(reward_dir: Path) -> None:
    with served("reward", reward_dir, max_request_bytes=1000) as server:
        failed = rpc.failure(lambda: rpc.score(server.channel, [rpc.text("a" * 2000, "b")]))
    assert failed.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert failed.retry_after_s is None
