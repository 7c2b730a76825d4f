"""ScoringService, served by a reward model and by a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rpc
from peer_forward import peer_logprobs, peer_score
from servers import Served, served
from tiny_models import REWARD_OFFSET, make_tokenizer, save_tiny

from rewardplane.v1 import model_service_pb2, types_pb2

QUESTION, ANSWER = [0, 40, 41, 42], [50, 51, 1]


@pytest.fixture(scope="module")
def fingerprint(reward_server: Served) -> str:
    return rpc.info(reward_server.channel).tokenizer_fingerprint


def test_score_of_token_ids_is_the_models_own_less_the_offset(
    reward_server: Served, reward_dir: Path, fingerprint: str
) -> None:
    reply = rpc.score(reward_server.channel, [rpc.tokens(QUESTION, ANSWER)], tokenizer_fingerprint=fingerprint)
    (raw,) = peer_score(reward_dir, [(QUESTION, ANSWER)])
    assert reply.scores[0] == pytest.approx(raw - REWARD_OFFSET, abs=1e-5)


def test_text_scores_as_its_token_ids(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward", seed=4)
    tokenizer = make_tokenizer()
    question = tokenizer("What did you think of it?")["input_ids"]
    answer = [*tokenizer("It was long.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with served("reward", tmp_path / "rm") as server:
        as_text = rpc.score(server.channel, [rpc.text("What did you think of it?", "It was long.")])
    assert as_text.scores[0] == pytest.approx(peer_score(tmp_path / "rm", [(question, answer)])[0], abs=1e-5)


def test_chat_goes_through_the_models_template(reward_server: Served, reward_dir: Path) -> None:
    tokenizer = make_tokenizer(chat=True)
    question = tokenizer("<s>user: Was it good?<s>assistant: ", add_special_tokens=False)["input_ids"]
    answer = [*tokenizer("Yes.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    message = types_pb2.ChatMessage(role="user", content="Was it good?")
    chat = types_pb2.QuestionAnswer(chat=types_pb2.ChatPair(messages=[message], answer="Yes."))
    reply = rpc.score(reward_server.channel, [chat, rpc.text("Was it good?", "Yes.")])
    raw = peer_score(reward_dir, [(question, answer)])[0]
    # A plain question is the same conversation with one message.
    assert list(reply.scores) == pytest.approx([raw - REWARD_OFFSET] * 2, abs=1e-5)


def test_replies_keep_the_order_of_the_request(reward_server: Served, reward_dir: Path, fingerprint: str) -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(3, 300, 20).tolist(), rng.integers(3, 300, n).tolist()) for n in (9, 1, 30, 4, 17)]
    reply = rpc.score(reward_server.channel, [rpc.tokens(*pair) for pair in pairs], tokenizer_fingerprint=fingerprint)
    expected = np.array(peer_score(reward_dir, pairs)) - REWARD_OFFSET
    np.testing.assert_allclose(reply.scores, expected, atol=1e-5)


def test_a_request_larger_than_a_batch_is_scored_in_several(reward_dir: Path, fingerprint: str) -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.integers(3, 300, 30).tolist(), rng.integers(3, 300, 20).tolist()) for _ in range(12)]
    with served("reward", reward_dir, max_batch_tokens=128) as server:
        reply = rpc.score(server.channel, [rpc.tokens(*pair) for pair in pairs], tokenizer_fingerprint=fingerprint)
        batches = server.metrics()["rewardplane_batch_pairs_count", ()]
    expected = np.array(peer_score(reward_dir, pairs)) - REWARD_OFFSET
    np.testing.assert_allclose(reply.scores, expected, atol=1e-5)
    assert batches == 6  # 12 pairs of 50 tokens, two of which fit into 128


def test_a_pair_longer_than_a_batch_is_scored_alone(reward_dir: Path, fingerprint: str) -> None:
    question, answer = list(range(3, 103)), list(range(60, 120))
    with served("reward", reward_dir, max_batch_tokens=64) as server:
        reply = rpc.score(server.channel, [rpc.tokens(question, answer)] * 2, tokenizer_fingerprint=fingerprint)
    raw = peer_score(reward_dir, [(question, answer)])[0]
    assert list(reply.scores) == pytest.approx([raw - REWARD_OFFSET] * 2, abs=1e-5)


def test_no_pairs_give_no_scores(reward_server: Served) -> None:
    assert list(rpc.score(reward_server.channel, []).scores) == []


def test_every_reply_names_the_weights(policy_server: Served) -> None:
    version = rpc.score(policy_server.channel, [rpc.text("a", "b")]).model_version
    assert version == rpc.info(policy_server.channel).model_version
    assert version.model_name == "policy-7"
    assert version.policy_version == 7
    assert len(version.checkpoint_digest) == 64


def test_a_policys_score_is_the_sum_of_the_log_probs(policy_server: Served, policy_dir: Path) -> None:
    fingerprint = rpc.info(policy_server.channel).tokenizer_fingerprint
    reply = rpc.score(policy_server.channel, [rpc.tokens(QUESTION, ANSWER)], tokenizer_fingerprint=fingerprint)
    expected = sum(peer_logprobs(policy_dir, [(QUESTION, ANSWER)])[0])
    assert reply.scores[0] == pytest.approx(expected, abs=1e-4)


def test_implicit_reward_is_kl_coef_times_the_log_ratio(
    policy_dir: Path, sft_dir: Path, reference_server: Served
) -> None:
    pairs = [(QUESTION, ANSWER), ([0, 9, 8], [7, 6, 5, 4])]
    with served("policy", policy_dir, reference=reference_server.target, kl_coef=0.1) as server:
        about = rpc.info(server.channel)
        reply = rpc.score(
            server.channel,
            [rpc.tokens(*pair) for pair in pairs],
            tokenizer_fingerprint=about.tokenizer_fingerprint,
        )
    assert about.score_kind == model_service_pb2.SCORE_KIND_IMPLICIT_REWARD
    policy, sft = peer_logprobs(policy_dir, pairs), peer_logprobs(sft_dir, pairs)
    expected = [0.1 * (sum(p) - sum(s)) for p, s in zip(policy, sft, strict=True)]
    np.testing.assert_allclose(reply.scores, expected, atol=1e-5)


def test_implicit_reward_without_its_reference_is_unavailable(policy_dir: Path, sft_dir: Path) -> None:
    with served("reference", sft_dir) as reference:
        target = reference.target
    with served("policy", policy_dir, reference=target) as server:
        failed = rpc.failure(lambda: rpc.score(server.channel, [rpc.text("a", "b")], timeout_s=3.0))
    # The server gives up when its caller does, so either of the two may speak first.
    assert (failed.code.name, failed.reason) in {
        ("UNAVAILABLE", "REFERENCE_UNAVAILABLE"),
        ("DEADLINE_EXCEEDED", ""),
    }


def test_info_says_what_is_served(reward_server: Served) -> None:
    about = rpc.info(reward_server.channel)
    assert about.score_kind == model_service_pb2.SCORE_KIND_REWARD
    assert about.dtype == "float32"
    assert about.max_pair_tokens == 256  # the model's positions
    assert about.vocabulary_size == 320
    assert list(about.stop_token_ids) == [1]
    assert about.max_batch_tokens == 1024
    assert about.load_time.seconds > 1_600_000_000
