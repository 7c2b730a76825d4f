"""Encoder reward models: what their pairs are, and that padding side by side changes no score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import FAMILIES, POSITIONS, joining_tokenizer, save_encoder
from tiny_models import VOCABULARY, make_tokenizer, save_tiny
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.encoding import UnencodablePair
from rewardplane.modeling.joined import JoinedPairEncoder
from rewardplane.modeling.models import load_causal_model, load_reward_model, pair_scores, score
from rewardplane.modeling.padded import by_length, padded_tokens
from rewardplane.wire import ChatMessage, ChatPair, TextPair, TokenPair

PAIRS = [
    TextPair("What did you think of it?", "It was good."),
    TextPair("What did you think of it?", "It was long, and the end was not what I had hoped for. " * 2),
    TextPair("", "x"),
    TextPair("Well?", "A reward model reads a question and an answer."),
    TextPair("What did you think of it?", "No."),
]


def transformers_scores(directory: Path, pairs: list[TextPair]) -> Tensor:
    """By transformers alone: its tokenizer joins the two texts, its model reads them one pair at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float64).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    names = ["input_ids"] if getattr(model.config, "type_vocab_size", 0) < 2 else ["input_ids", "token_type_ids"]
    rows = [tokenizer(p.question, p.answer, return_tensors="pt", return_token_type_ids=True) for p in pairs]
    return torch.cat([model(**{name: row[name] for name in names}).logits[:, 0] for row in rows])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_ids_of_a_pair_are_those_of_the_tokenizer(family: str) -> None:
    tokenizer = joining_tokenizer(family)
    encoder = JoinedPairEncoder(tokenizer, VOCABULARY)
    for pair in PAIRS:
        ids = encoder.encode(pair)
        assert [*ids.question_ids, *ids.answer_ids] == tokenizer(pair.question, pair.answer)["input_ids"]
    questions = {encoder.encode(pair).question_ids.tobytes() for pair in (PAIRS[0], PAIRS[1], PAIRS[4])}
    assert len(questions) == 1
    assert encoder.stop_token_ids == (tokenizer.sep_token_id,)
    assert encoder.start_token_id == tokenizer.cls_token_id
    assert encoder.encode_answer("No.", ended=False).tolist() == encoder.encode_answer("No.").tolist()[:-1]


def test_a_conversation_is_refused() -> None:
    encoder = JoinedPairEncoder(joining_tokenizer("bert"), VOCABULARY)
    with pytest.raises(UnencodablePair, match="send texts"):
        encoder.encode(ChatPair((ChatMessage("user", "Well?"),), "Yes."))


def test_a_tokenizer_that_cannot_join_texts_is_refused() -> None:
    bare = make_tokenizer()
    bare.backend_tokenizer.post_processor = None
    with pytest.raises(ValueError, match="without special tokens"):
        JoinedPairEncoder(bare, VOCABULARY)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_scores_of_a_batch_are_those_of_each_pair_alone(family: str, tmp_path: Path) -> None:
    loaded = load_reward_model(save_encoder(tmp_path, family), torch.float32)
    expected = transformers_scores(tmp_path, PAIRS)
    assert expected.std() > 0.01  # scores that differ, or the comparison says nothing
    pairs = [loaded.encoder.encode(pair) for pair in PAIRS]
    assert_close(score(loaded, pairs), expected.float(), atol=1e-5, rtol=1e-5)
    order = [3, 0, 4, 2, 1]
    assert_close(score(loaded, [pairs[i] for i in order]), expected[order].float(), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_each_pair_alone(tmp_path: Path) -> None:
    model = load_reward_model(save_encoder(tmp_path), torch.float64).model
    encoder = load_reward_model(tmp_path, torch.float64).encoder
    weights = torch.linspace(-1, 1, len(PAIRS), dtype=torch.float64)
    (weights * pair_scores(model, [encoder.encode(pair) for pair in PAIRS])).sum().backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for weight, pair in zip(weights, PAIRS, strict=True):
        row = encoder.tokenizer(pair.question, pair.answer, return_tensors="pt", return_token_type_ids=True)
        (weight * model(input_ids=row["input_ids"], token_type_ids=row["token_type_ids"]).logits[0, 0]).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            # Scores leave the model in float32.
            assert_close(together[name], parameter.grad, rtol=1e-5, atol=1e-7)


def test_batches_hold_what_fits_with_padding() -> None:
    # Longest first: 9 and 8 make 2 * 9 = 18 of 20; 5, 4 and 3 make 15, and a fourth row would make 20.
    assert list(by_length([3, 9, 5, 8, 4, 1], 20)) == [[1, 3], [2, 4, 0, 5]]
    assert padded_tokens([3, 9, 5, 8, 4, 1], 20) == 18 + 20
    assert list(by_length([30, 2], 20)) == [[0], [1]]  # a row that is too long stands alone


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="a causal language model is needed"):
        load_causal_model(save_encoder(tmp_path, classifier=False), torch.float32)


def test_the_longest_pair_is_the_tokenizers(tmp_path: Path) -> None:
    # RoBERTa counts positions from pad_token_id + 1: of its 131 the first 3 are never used.
    loaded = load_reward_model(save_encoder(tmp_path, "roberta"), torch.float32)
    assert loaded.max_pair_tokens == POSITIONS
    longest = TokenPair(np.full(1, 5, np.int32), np.full(POSITIONS - 1, 5, np.int32))
    assert torch.isfinite(score(loaded, [longest])).all()


def test_decoders_are_still_packed(tmp_path: Path) -> None:
    save_tiny(tmp_path / "rm", "reward")
    assert not isinstance(load_reward_model(tmp_path / "rm", torch.float32).encoder, JoinedPairEncoder)
