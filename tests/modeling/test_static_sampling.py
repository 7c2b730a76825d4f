"""Answers of a static cache are those of the cache that grows, and end where they end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from one_by_one import build, ids
from tiny_models import VOCABULARY

from rewardplane.modeling.attention import one_query
from rewardplane.modeling.prefill import prefill
from rewardplane.modeling.sampling import Sampling, choose, sample_answers, uniforms_of, until_stop
from rewardplane.modeling.static_reader import StaticReader, keeps_all
from rewardplane.modeling.static_sampling import LOOK_EVERY, grow

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def answers(model: Any, sampling: Sampling, stops: Any, *, static: bool, each: int = 3) -> list[list[int]]:
    rng = np.random.default_rng(0)
    questions = [ids(rng, length) for length in (1, 20, 7, 13)]
    if not static:
        found = sample_answers(model, questions, stops, sampling, answers_per_question=each)
        assert all(answer.dtype == np.int32 for answer in found)
        return [answer.tolist() for answer in found]
    with torch.inference_mode():
        start = prefill(model, questions, each)
        rows = grow(
            StaticReader(model, start, sampling.max_answer_tokens),
            uniforms_of(sampling, len(questions) * each),
            torch.tensor(list(stops), dtype=torch.int64, device=model.device),
            lambda logits, drawn: choose(logits, sampling.temperature, drawn),
        )
    return [until_stop(row, list(stops)).tolist() for row in rows]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "qwen3"])
def test_equal_seeds_give_equal_answers(family: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs one CUDA device")
    model = build(family, causal=True).to(device)
    for sampling in (Sampling(20, seed=11), Sampling(20, temperature=0.5, seed=3, first_answer=9), Sampling(9, 0.0)):
        stops = range(0, VOCABULARY, 20)
        grown = answers(build(family, causal=True), sampling, stops, static=False)
        assert len({len(answer) for answer in grown}) > 1 or not sampling.temperature
        assert answers(model, sampling, stops, static=True) == grown


def test_under_autocast_answers_are_equal_but_for_what_rounding_turns() -> None:
    model = build("llama", causal=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grown, fixed = (answers(model, Sampling(20, seed=11), [1], static=static) for static in (False, True))
    assert sum(a == b for a, b in zip(fixed, grown, strict=True)) >= 9  # of 12, of 20 tokens each


@pytest.mark.parametrize("length", [1, 2, LOOK_EVERY, LOOK_EVERY + 1])
def test_answers_without_stop_tokens_have_full_length(length: int) -> None:
    model = build("llama", causal=True)
    assert {len(answer) for answer in answers(model, Sampling(length), [], static=True)} == {length}


def test_it_ends_soon_after_all_answers_have_ended() -> None:
    model, calls = build("llama", causal=True), []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert {len(a) for a in answers(model, Sampling(10 * LOOK_EVERY), range(VOCABULARY), static=True)} == {1}
    assert len(calls) == LOOK_EVERY  # the questions, and one step less than until the first look


@pytest.mark.parametrize(("family", "expected"), [("llama", True), ("gpt_neox", True), ("mistral", False)])
def test_layers_that_forget_are_known(family: str, expected: bool) -> None:
    assert keeps_all(build(family, causal=True)) == expected


def test_heads_that_share_keys_attend_as_if_each_had_a_copy() -> None:
    random = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(3, heads, length, 8, generator=random) for heads, length in ((6, 1), (2, 9), (2, 9))
    )
    mask = torch.rand(3, 1, 1, 9, generator=random) < 0.7
    key_of, value_of = (x.repeat_interleave(3, dim=1) for x in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key_of, value_of, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(one_query(query, key, value, mask, 0.3), expected.transpose(1, 2))
