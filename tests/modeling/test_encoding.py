"""Pairs to token ids: what is shared, what is appended, what is refused, and where a score is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import REWARD_OFFSET, VOCABULARY, make_tokenizer, save_tiny
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rewardplane.modeling.encoding import PairEncoder, UnencodablePair
from rewardplane.modeling.models import load_causal_model, load_reward_model, score
from rewardplane.wire import ChatMessage, ChatPair, TextPair, TokenPair

START, STOP = 0, 1  # ids of <s> and </s>
QUESTION, ANSWERS = "What did you think of it?", ["It was long.", " It was good", "x"]


@pytest.fixture(scope="module")
def plain() -> PairEncoder:
    return PairEncoder(make_tokenizer(), [STOP, 2], VOCABULARY)


@pytest.fixture(scope="module")
def chat() -> PairEncoder:
    return PairEncoder(make_tokenizer(chat=True), [STOP], VOCABULARY)


def test_answers_to_one_question_share_its_ids(plain: PairEncoder) -> None:
    pairs = [plain.encode(TextPair(QUESTION, answer)) for answer in ANSWERS]
    assert len({pair.question_ids.tobytes() for pair in pairs}) == 1
    assert pairs[0].question_ids.tolist() == plain.tokenizer(QUESTION)["input_ids"]
    assert pairs[0].question_ids[0] == START


def test_an_answer_is_its_text_and_the_first_stop_token(plain: PairEncoder) -> None:
    for answer in ANSWERS:
        ids = plain.encode(TextPair(QUESTION, answer)).answer_ids
        assert ids.dtype == np.int32
        assert ids[-1] == STOP
        assert START not in ids
        assert plain.tokenizer.decode(ids[:-1]) == answer
        assert plain.decode(ids) == answer  # without special tokens
        assert plain.ended(ids)
        assert plain.encode_answer(answer, ended=False).tolist() == ids[:-1].tolist()
        assert not plain.ended(ids[:-1])


def test_training_text_has_start_and_stop(plain: PairEncoder) -> None:
    ids = plain.encode_text(QUESTION)
    assert plain.tokenizer.decode(ids) == f"<s>{QUESTION}</s>"


@pytest.mark.parametrize(
    "how", [{}, {"truncation": True, "max_length": 3}, {"padding": "max_length", "max_length": 99}]
)
def test_texts_are_encoded_whole_whatever_others_asked_of_the_tokenizer(how: dict[str, Any]) -> None:
    tokenizer = make_tokenizer()
    encoder = PairEncoder(tokenizer, [STOP], VOCABULARY)
    expected = tokenizer(QUESTION)["input_ids"]
    tokenizer(QUESTION, **how)
    assert encoder.encode_question(QUESTION).tolist() == expected
    assert encoder.encode_answer(QUESTION).tolist() == [*expected[1:], STOP]


def test_special_tokens_in_texts_are_split_where_the_tokenizer_says_so() -> None:
    tokenizer = make_tokenizer()
    encoder = PairEncoder(tokenizer, [STOP], VOCABULARY)
    for split in (True, False):
        tokenizer.split_special_tokens = split
        ids = encoder.encode_answer("a</s>b", ended=False).tolist()
        assert ids == tokenizer("a</s>b", add_special_tokens=False)["input_ids"]
        assert (STOP in ids) != split


def test_any_listed_stop_token_ends_an_answer(plain: PairEncoder) -> None:
    assert plain.ended(np.array([9, 2], np.int32))
    assert not plain.ended(np.array([2, 9], np.int32))


def test_the_chat_template_asks_for_an_answer(chat: PairEncoder) -> None:
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", "Well?"))
    pair = chat.encode(ChatPair(messages, "Yes."))
    assert chat.tokenizer.decode(pair.question_ids) == "<s>system: Be brief.<s>user: Well?<s>assistant: "
    assert pair.answer_ids.tolist() == chat.encode_answer("Yes.").tolist()
    # A text is what a user says, and the template brings the start token: there is one only.
    text = chat.encode(TextPair("Well?", "Yes."))
    assert chat.tokenizer.decode(text.question_ids) == "<s>user: Well?<s>assistant: "
    assert text.question_ids.tolist() == chat.encode_question([ChatMessage("user", "Well?")]).tolist()


def test_a_conversation_needs_a_template_and_a_message(plain: PairEncoder, chat: PairEncoder) -> None:
    with pytest.raises(UnencodablePair, match="no chat template"):
        plain.encode(ChatPair((ChatMessage("user", "Well?"),), "Yes."))
    with pytest.raises(UnencodablePair, match="no message"):
        chat.encode(ChatPair((), "Yes."))


def test_an_empty_answer_is_refused(plain: PairEncoder) -> None:
    with pytest.raises(UnencodablePair, match="the answer is empty"):
        plain.encode(TextPair(QUESTION, ""))
    with pytest.raises(UnencodablePair, match="the answer has no tokens"):
        plain.encode(TokenPair([5], []))
    with pytest.raises(UnencodablePair, match="the question has no tokens"):
        plain.encode(TokenPair([], [5]))


def test_an_empty_question_is_the_start_token(plain: PairEncoder) -> None:
    assert plain.encode(TextPair("", "Yes.")).question_ids.tolist() == [START]
    bare = make_tokenizer()  # as GPT-2's: texts begin without any
    bare.backend_tokenizer.post_processor = None
    assert PairEncoder(bare, [STOP], VOCABULARY).encode(TextPair("", "Yes.")).question_ids.tolist() == [START]
    bare.bos_token = None
    assert PairEncoder(bare, [STOP], VOCABULARY).encode(TextPair("", "Yes.")).question_ids.tolist() == [STOP]


@pytest.mark.parametrize("bad", [-1, VOCABULARY, 2**31 - 1])
def test_an_id_outside_the_vocabulary_is_refused_and_named(plain: PairEncoder, bad: int) -> None:
    with pytest.raises(UnencodablePair, match=rf"question token id {bad} is outside the vocabulary \(0 to 319\)"):
        plain.encode(TokenPair([5, bad, 6], [7]))
    with pytest.raises(UnencodablePair, match=f"answer token id {bad} is outside"):
        plain.encode(TokenPair([5], [7, bad]))


def test_ids_at_the_edges_pass_as_they_are(plain: PairEncoder) -> None:
    pair = TokenPair([0, VOCABULARY - 1], [VOCABULARY - 1])
    assert plain.encode(pair) is pair


def test_a_model_without_stop_token_is_refused() -> None:
    with pytest.raises(ValueError, match="names no stop token"):
        PairEncoder(make_tokenizer(), [], VOCABULARY)


def test_fingerprint_survives_saving_and_use(plain: PairEncoder, tmp_path: Path) -> None:
    plain.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    loaded(["a", "longer text"], padding=True, truncation=True, max_length=2)
    assert PairEncoder(loaded, [STOP], VOCABULARY).fingerprint == plain.fingerprint
    assert len(bytes.fromhex(plain.fingerprint)) == 32


def test_fingerprint_is_that_of_the_ids_and_not_of_the_template(plain: PairEncoder, chat: PairEncoder) -> None:
    assert chat.fingerprint == plain.fingerprint


def test_fingerprint_differs_for_another_vocabulary(plain: PairEncoder) -> None:
    grown, special = make_tokenizer(), make_tokenizer()
    grown.add_tokens(["filmic"])
    special.add_special_tokens({"additional_special_tokens": ["good"]})
    content = json.loads(plain.tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    swapped = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)))
    fingerprints = {PairEncoder(t, [STOP], VOCABULARY).fingerprint for t in (grown, special, swapped)}
    assert len({*fingerprints, plain.fingerprint}) == 4


def test_stop_tokens_come_from_the_generation_configuration(tmp_path: Path) -> None:
    save_tiny(tmp_path / "sft", "sft", eos_token_id=[2, 1])
    assert load_causal_model(tmp_path / "sft", torch.float32).encoder.stop_token_ids == (2, 1)


def test_pad_equal_to_eos_is_harmless(tmp_path: Path) -> None:
    """Many chat models pad with their stop token: a score must still be read there, and not before it."""
    save_tiny(tmp_path / "reward", "reward", pad_token_id=STOP, reward_offset=REWARD_OFFSET)
    loaded = load_reward_model(tmp_path / "reward", torch.float32)
    pairs = [loaded.encoder.encode(TextPair(QUESTION, answer)) for answer in ANSWERS]
    pairs.append(TokenPair([START, 9, STOP, 9], [STOP, STOP, STOP]))
    model = loaded.model
    for pair, found in zip(pairs, score(loaded, pairs), strict=True):
        ids = torch.tensor([[*pair.question_ids.tolist(), *pair.answer_ids.tolist()]])
        assert ids[0, -1] == STOP
        with torch.inference_mode():
            last = model.model(input_ids=ids).last_hidden_state[0, -1]
            expected = last @ model.score.weight[0] - REWARD_OFFSET
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
