"""A score does not depend on what else is in the batch, and is the model's own: for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rpc
from peer_forward import peer_score
from servers import Served, served
from tiny_models import FAMILIES, make_tokenizer, save_tiny

from rewardplane.modeling.fused.product import SUPPORTED

WORDS = ["film", "good", "long", "end", "see", "again", "hoped", "question", "answer", "think"]


def draw(seed: int, questions: int, answers: int) -> list[tuple[str, str]]:
    """Questions of many lengths with K answers each."""
    rng = np.random.default_rng(seed)

    def text(least: int, most: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(least, most)))

    return [(question, text(1, 12)) for question in (text(1, 24) for _ in range(questions)) for _ in range(answers)]


def encode(pairs: list[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    tokenizer = make_tokenizer()
    return [
        (tokenizer(q)["input_ids"], [*tokenizer(a, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id])
        for q, a in pairs
    ]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_alone_shuffled_among_siblings_and_as_ids(tmp_path: Path, family: str) -> None:
    # pad == eos is what many chat models have: a score found by `id == pad` would be another token's.
    save_tiny(tmp_path / family, "reward", family, seed=5, pad_token_id=1)
    pairs = draw(seed=6, questions=16, answers=4)
    ids = encode(pairs)
    expected = np.array(peer_score(tmp_path / family, ids))
    assert expected.std() > 0.02  # so that 1e-5 means something
    with served("reward", tmp_path / family, max_batch_tokens=300) as server:
        channel = server.channel
        alone = [rpc.score(channel, [rpc.text(*pair)]).scores[0] for pair in pairs]
        batched = rpc.score(channel, [rpc.text(*pair) for pair in pairs]).scores
        order = np.random.default_rng(7).permutation(len(pairs))
        shuffled = rpc.score(channel, [rpc.text(*pairs[i]) for i in order]).scores
        as_ids = rpc.score(
            channel,
            [rpc.tokens(*one) for one in ids],
            tokenizer_fingerprint=rpc.info(channel).tokenizer_fingerprint,
        ).scores
    for scores in (alone, batched, np.array(shuffled)[np.argsort(order)], as_ids):
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_callers_at_once_get_what_they_get_alone(reward_server: Served) -> None:
    pairs = draw(seed=8, questions=12, answers=3)
    alone = [rpc.score(reward_server.channel, [rpc.text(*pair)]).scores[0] for pair in pairs]
    before = reward_server.metrics()
    calls = [rpc.score_later(reward_server.channel, [rpc.text(*pair)]) for pair in pairs]
    np.testing.assert_array_equal([call.result().scores[0] for call in calls], alone)  # to the bit
    after = reward_server.metrics()
    batches, scored = (
        after[name, ()] - before[name, ()] for name in ("rewardplane_batch_pairs_count", "rewardplane_batch_pairs_sum")
    )
    assert scored == 36
    assert batches < 36  # some of them met in a batch


def test_batches_side_by_side_give_the_same_bits(reward_dir: Path, reward_server: Served) -> None:
    pairs = draw(seed=8, questions=12, answers=3)
    alone = [rpc.score(reward_server.channel, [rpc.text(*pair)]).scores[0] for pair in pairs]
    with served("reward", reward_dir, threads=2, parallel_batches=2, max_batch_tokens=64) as server:
        assert server.metrics()["rewardplane_parallel_batches", ()] == 2
        for _ in range(5):
            calls = [rpc.score_later(server.channel, [rpc.text(*pair)]) for pair in pairs]
            np.testing.assert_array_equal([call.result().scores[0] for call in calls], alone)


def test_siblings_of_one_question_are_computed_once(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward")
    question, answers = list(range(3, 103)), [[100 + i] * 10 for i in range(9)]
    with served("reward", tmp_path / "rm") as server:
        pins = {"tokenizer_fingerprint": rpc.info(server.channel).tokenizer_fingerprint}
        rpc.score(server.channel, [rpc.tokens(question, answer) for answer in answers], **pins)
        tokens = server.metrics()
    assert tokens["rewardplane_tokens_total", ("computed",)] == 100 + 9 * 10
    assert tokens["rewardplane_tokens_total", ("shared",)] == 8 * 100
    # oneDNN's products want a row of 192.
    assert tokens["rewardplane_tokens_total", ("filler",)] == (0 if SUPPORTED else 2)


def test_bfloat16_stays_near(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward", seed=5)
    pairs = draw(seed=9, questions=4, answers=2)
    expected = np.array(peer_score(tmp_path / "rm", encode(pairs)))
    with served("reward", tmp_path / "rm", dtype="bfloat16") as server:
        assert rpc.info(server.channel).dtype == "bfloat16"
        scores = rpc.score(server.channel, [rpc.text(*pair) for pair in pairs]).scores
    # 8 bits of mantissa: 0.4 % of the terms of a sum, whose size is that of the scores' spread.
    np.testing.assert_allclose(scores, expected, atol=0.05 * max(1.0, expected.std() * 4))
