"""Every family of models gives through KServe v2 what transformers says of it, as texts and as ids, pad == eos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from kserve_requests import ids_inputs, text_inputs
from peer_forward import peer_logprobs, peer_score
from servers import served
from tiny_models import FAMILIES, make_tokenizer, save_tiny

from rewardplane.wire import TokenPair

WORDS = ("film", "good", "long", "end", "see", "again", "hoped", "question", "answer", "think")
EOS = 1
N = 64


def draw() -> tuple[list[str], list[str]]:
    """Questions of many lengths, four answers each, in an order that parts them."""
    rng = np.random.default_rng(3)

    def text(least: int, most: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(least, most)))

    questions = [text(1, 24) for _ in range(N // 4)] * 4
    return questions, [text(1, 12) for _ in range(N)]


def encode(questions: list[str], answers: list[str]) -> list[TokenPair]:
    tokenizer = make_tokenizer()
    return [
        TokenPair(tokenizer(q)["input_ids"], [*tokenizer(a, add_special_tokens=False)["input_ids"], EOS])
        for q, a in zip(questions, answers, strict=True)
    ]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_scores_and_log_probs(tmp_path: Path, family: str) -> None:
    questions, answers = draw()
    pairs = encode(questions, answers)
    as_lists = [(pair.question_ids.tolist(), pair.answer_ids.tolist()) for pair in pairs]
    save_tiny(tmp_path / "rm", "reward", family, seed=5, pad_token_id=EOS)
    expected = np.array(peer_score(tmp_path / "rm", as_lists))
    with served("reward", tmp_path / "rm") as server, triton.InferenceServerClient(server.target) as client:
        for inputs in (text_inputs(questions, answers), ids_inputs(pairs)):
            np.testing.assert_allclose(client.infer("rm", inputs).as_numpy("score")[:, 0], expected, atol=1e-5)
    save_tiny(tmp_path / "sft", "sft", family, seed=5, pad_token_id=EOS)
    expected_logprobs = peer_logprobs(tmp_path / "sft", as_lists)
    with served("reference", tmp_path / "sft") as server, triton.InferenceServerClient(server.target) as client:
        for inputs in (text_inputs(questions, answers), ids_inputs(pairs)):
            reply = client.infer("sft", inputs)
            lengths = reply.as_numpy("logprob_lengths")[:, 0]
            for row, length, want in zip(reply.as_numpy("logprobs"), lengths, expected_logprobs, strict=True):
                np.testing.assert_allclose(row[:length], want, atol=1e-4)
