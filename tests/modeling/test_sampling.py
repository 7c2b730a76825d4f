"""Answers beside transformers' generate, their distribution beside the softmax, and what they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from one_by_one import build, ids
from tiny_models import VOCABULARY

from rewardplane.modeling.attention import UnsupportedAttention
from rewardplane.modeling.models import load_causal_model
from rewardplane.modeling.sampling import Sampling, sample_answers

Ids = NDArray[np.int32]

STORIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "stories260k"
FEW = 12
"""A vocabulary so small that stop tokens are drawn often."""


def questions(count: int, vocabulary: int = FEW) -> list[Ids]:
    """Of 1 to 20 tokens, so that a batch is padded a lot."""
    rng = np.random.default_rng(0)
    return [ids(rng, int(rng.integers(1, 21)), vocabulary) for _ in range(count)]


def generate(model: Any, question: Ids, stops: list[int] | None, length: int) -> list[int]:
    """transformers' greedy search on one question, without padding."""
    output = model.generate(
        torch.from_numpy(question.astype(np.int64))[None],
        attention_mask=torch.ones(1, len(question), dtype=torch.int64),
        do_sample=False, max_new_tokens=length, eos_token_id=stops, pad_token_id=0,
    )  # fmt: skip
    return output[0, len(question) :].tolist()


def lists(answers: list[Ids]) -> list[list[int]]:
    assert all(answer.dtype == np.int32 for answer in answers)
    return [answer.tolist() for answer in answers]


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2", "gpt_neox", "opt"])
def test_greedy_equals_generate_and_any_listed_token_stops(family: str) -> None:
    # GPT-2 and OPT count learned positions from the left edge of a padded row unless told otherwise.
    model = build(family, causal=True, vocab_size=FEW, tie_word_embeddings=False)
    asked = questions(24)
    answers = lists(sample_answers(model, asked, [1, 2], Sampling(max_answer_tokens=12, temperature=0)))
    assert answers == [generate(model, question, [1, 2], 12) for question in asked]
    assert len({len(answer) for answer in answers}) > 2
    for answer in answers:
        assert len(answer) == 12 or answer[-1] in (1, 2)
        assert not {1, 2} & set(answer[:-1])


def test_both_stop_tokens_end_answers_and_belong_to_them() -> None:
    model = build("llama", causal=True, vocab_size=FEW)
    answers = lists(sample_answers(model, questions(64), [1, 2], Sampling(30, seed=3)))
    ends = {answer[-1] for answer in answers if len(answer) < 30}
    assert ends == {1, 2}
    # With another list those tokens are like any other.
    assert any({1, 2} & set(a[:-1]) for a in lists(sample_answers(model, questions(64), [5], Sampling(30, seed=3))))


def test_without_stop_tokens_answers_have_full_length() -> None:
    model = build("llama", causal=True, vocab_size=FEW)
    assert [len(a) for a in sample_answers(model, questions(5), [], Sampling(7))] == [7] * 5


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_an_answer_does_not_depend_on_its_companions(family: str) -> None:
    model = build(family, causal=True)
    asked = questions(6, 300)
    # Every eighth token ends an answer, so the batch shrinks at almost every step.
    sampling, stops = Sampling(max_answer_tokens=20, seed=11), range(0, VOCABULARY, 8)

    def answers(asked: list[Ids]) -> list[list[int]]:
        return lists(sample_answers(model, asked, stops, sampling, answers_per_question=3))

    together = answers(asked)
    assert len({len(answer) for answer in together}) > 5
    assert answers(asked[:1]) == together[:3]
    assert answers(asked[:4]) == together[:12]
    others = [ids(np.random.default_rng(1), length) for length in (30, 2, 9, 1)]
    assert answers([others[0], asked[1], *others[1:]])[3:6] == together[3:6]


def test_a_part_of_the_answers_is_drawn_as_it_is_among_all() -> None:
    model = build("llama", causal=True, vocab_size=FEW)
    asked, sampling = questions(6), Sampling(max_answer_tokens=12, seed=3)
    every = lists(sample_answers(model, asked, [1], sampling, answers_per_question=2))
    last = sample_answers(model, asked[4:], [1], replace(sampling, first_answer=8), answers_per_question=2)
    assert lists(last) == every[8:]
    assert lists(sample_answers(model, asked[4:], [1], sampling, answers_per_question=2)) != every[8:]


def test_a_longer_limit_only_continues_answers() -> None:
    model = build("llama", causal=True)
    short, long = (lists(sample_answers(model, questions(4, 300), [], Sampling(n, seed=2))) for n in (5, 9))
    assert short == [answer[:5] for answer in long]


def test_one_seed_repeats_and_another_differs() -> None:
    model = build("llama", causal=True)
    first, again, other = (
        lists(sample_answers(model, questions(4, 300), [], Sampling(10, seed=seed))) for seed in (5, 5, 6)
    )
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_answers_to_one_question_differ_and_stand_together() -> None:
    model = build("llama", causal=True)
    asked = questions(3, 300)
    drawn = lists(sample_answers(model, asked, [], Sampling(10, seed=1), answers_per_question=4))
    assert len({tuple(answer) for answer in drawn}) == 12
    greedy = lists(sample_answers(model, asked, [], Sampling(10, temperature=0), answers_per_question=4))
    assert greedy == [answer for question in asked for answer in [generate(model, question, None, 10)] * 4]


# The 99.9th percentiles of chi-square with 11 and 143 degrees of freedom, from tables.
CHI_SQUARE_11, CHI_SQUARE_143 = 31.26, 201.0


def chi_square(counts: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float:
    expected = probabilities * counts.sum()
    assert expected.min() > 1
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_first_token_follows_the_softmax(temperature: float) -> None:
    model = build("llama", causal=True, vocab_size=FEW)
    question = questions(1)[0]
    counts = np.zeros(FEW)
    for seed in range(60):
        drawn = sample_answers(model, [question], [], Sampling(1, temperature, seed), answers_per_question=100)
        counts += np.bincount(np.concatenate(drawn), minlength=FEW)
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(question.astype(np.int64))[None]).logits[0, -1].double()
    assert chi_square(counts, (logits / temperature).softmax(-1).numpy()) < CHI_SQUARE_11
    # And it can tell a temperature of 0.8.
    assert chi_square(counts, (logits / 0.8).softmax(-1).numpy()) > 2 * CHI_SQUARE_11


def test_two_tokens_follow_the_product_of_their_softmaxes() -> None:
    model = build("gpt2", causal=True, vocab_size=FEW)
    question = questions(1)[0]
    drawn = np.stack(sample_answers(model, [question], [], Sampling(2, seed=4), answers_per_question=6000))
    counts = np.zeros((FEW, FEW))
    np.add.at(counts, (drawn[:, 0], drawn[:, 1]), 1)
    whole = torch.tensor([[*question.tolist(), token] for token in range(FEW)])
    with torch.inference_mode():
        logprobs = model(input_ids=whole).logits.double().log_softmax(-1)
    joint = (logprobs[0, -2][:, None] + logprobs[:, -1]).exp().numpy()
    assert chi_square(counts, joint) < CHI_SQUARE_143


@pytest.mark.parametrize(
    "seeds", [[0, 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1], [2**63, 2**63 + 1, 2**64 - 1, -2]]
)
def test_different_seeds_of_64_bits_draw_differently(seeds: list[int]) -> None:
    model = build("llama", causal=True)
    drawn = {tuple(sample_answers(model, questions(1), [], Sampling(12, seed=seed))[0].tolist()) for seed in seeds}
    assert len(drawn) == len(seeds)


def test_attention_that_generation_cannot_do_is_refused_by_name() -> None:
    model = build("gemma2", causal=True)
    with pytest.raises(UnsupportedAttention, match=r'Gemma2Attention .* set_attn_implementation\("eager"\)'):
        sample_answers(model, questions(1), [], Sampling(2))
    model.set_attn_implementation("eager")
    asked = questions(3, 300)
    answers = lists(sample_answers(model, asked, [], Sampling(12, temperature=0)))
    assert answers == [generate(model, question, None, 12) for question in asked]


@pytest.mark.skipif(not STORIES.is_dir(), reason=f"needs the stories260k model at {STORIES}")
def test_a_trained_model_tells_its_story() -> None:
    loaded = load_causal_model(STORIES, torch.float32)
    assert loaded.encoder.stop_token_ids == (1, 2)
    question = loaded.encoder.encode_question("Once upon a time")
    answer = sample_answers(loaded.model, [question], loaded.encoder.stop_token_ids, Sampling(60, temperature=0))[0]
    expected = "there was a little girl named Lily. She loved to play outside in the park."
    assert loaded.encoder.decode(answer).lstrip(", ").startswith(expected)
