"""Packed rows give what transformers gives one sequence at a time: states, scores, log-probs and gradients."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from one_by_one import FAMILIES, WINDOW, build, logprobs_alone, mixed_pairs, score_alone, sequence
from tiny_models import POSITIONS
from torch.testing import assert_close

from rewardplane.modeling.attention import UnsupportedAttention
from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack

Share = Literal["question", "prefix"]
LAYER_NORM = {"gpt2", "gpt_neox", "opt", "phi"}
"""The others compute their RMSNorm in float32 even in a float64 model, so 6e-8 is rounded away."""


def float64_tolerance(family: str) -> float:
    return 1e-12 if family in LAYER_NORM else 1e-6


def own_attention(family: str) -> str:
    return "eager" if family == "gemma2" else "sdpa"  # SDPA has no soft cap


def both(family: str, *, causal: bool, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """One model twice: prepared for packed rows, and as transformers runs it."""
    return (
        build(family, causal=causal, dtype=dtype, attention="packed"),
        build(family, causal=causal, dtype=dtype, attention=own_attention(family)),
    )


@pytest.mark.parametrize("share", ["question", "prefix"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_states_and_scores_equal_one_by_one(family: str, share: Share) -> None:
    model, own = both(family, causal=False)
    pairs = mixed_pairs()
    packed = pack(pairs, share=share)
    assert packed.num_tokens < packed.num_logical_tokens  # something is shared
    with torch.no_grad():
        hidden = packed_hidden(model.base_model, packed)
        scores = packed_scores(model, packed)
        predicting = hidden[packed.predict_index].split(packed.answer_lengths)
        for i, pair in enumerate(pairs):
            states = own.base_model(input_ids=sequence(pair)).last_hidden_state[0]
            assert_close(hidden[packed.last_index[i]], states[-1], atol=1e-5, rtol=1e-5)
            assert_close(predicting[i], states[len(pair.question_ids) - 1 : -1], atol=1e-5, rtol=1e-5)
        expected = torch.stack([score_alone(own, pair) for pair in pairs])
    assert expected.std() > 0.05  # so that 1e-5 means something
    assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_logprobs_equal_one_by_one(family: str, temperature: float) -> None:
    model, own = both(family, causal=True)
    pairs = mixed_pairs()
    with torch.no_grad():
        logprobs = packed_logprobs(model, pack(pairs), temperature)
        expected = torch.cat([logprobs_alone(own, pair, temperature) for pair in pairs])
    assert expected.std() > 0.05
    assert_close(logprobs.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradients_equal_one_by_one(family: str) -> None:
    model, own = both(family, causal=False, dtype=torch.float64)
    pairs = mixed_pairs()
    weights = torch.linspace(-1, 1, len(pairs), dtype=torch.float64)
    (weights * packed_scores(model, pack(pairs))).sum().backward()
    (weights * torch.stack([score_alone(own, pair) for pair in pairs])).sum().backward()
    compare_gradients(model, own, float64_tolerance(family))


@pytest.mark.parametrize("share", ["question", "prefix"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_gradients_of_logprobs_equal_one_by_one(family: str, share: Share) -> None:
    model, own = both(family, causal=True, dtype=torch.float64)
    pairs = mixed_pairs()
    packed = pack(pairs, share=share)
    weights = torch.linspace(-1, 1, len(packed.answer_ids), dtype=torch.float64)
    (weights * packed_logprobs(model, packed, 0.7)).sum().backward()
    (weights * torch.cat([logprobs_alone(own, pair, 0.7) for pair in pairs])).sum().backward()
    compare_gradients(model, own, 10 * float64_tolerance(family))


def compare_gradients(model: Any, own: Any, tolerance: float) -> None:
    expected = dict(own.named_parameters())
    compared = 0
    for name, parameter in model.named_parameters():
        if expected[name].grad is None:
            assert parameter.grad is None or not parameter.grad.any()
            continue
        scale = max(1.0, expected[name].grad.abs().max().item())
        assert_close(parameter.grad, expected[name].grad, atol=tolerance * scale, rtol=0, msg=lambda m, n=name: n + m)
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_float64_leaves_no_more_than_rounding(family: str) -> None:
    model, own = both(family, causal=False, dtype=torch.float64)
    pairs = mixed_pairs(seed=1)
    with torch.no_grad():
        scores = packed_scores(model, pack(pairs))
        expected = torch.stack([score_alone(own, pair) for pair in pairs])
    assert_close(scores, expected, atol=float64_tolerance(family), rtol=0)


@pytest.mark.parametrize("family", ["mistral", "gemma2"])
def test_the_window_matters(family: str) -> None:
    """Shows that the families above tell a window from none."""
    model = build(family, causal=False, attention="packed")
    wide = build(family, causal=False, attention="packed", sliding_window=POSITIONS)
    packed = pack([pair for pair in mixed_pairs() if len(pair.question_ids) > WINDOW])
    with torch.no_grad():
        assert (packed_scores(model, packed) - packed_scores(wide, packed)).abs().max() > 1e-3


def test_dropout_is_refused() -> None:
    model = build("gpt2", causal=False, attention="packed").train()
    with pytest.raises(UnsupportedAttention, match="dropout must be off"):
        packed_scores(model, pack(mixed_pairs()))
