"""A decoder written out for a GPU gives what transformers' modules give in float64, over rows and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from one_by_one import build, ids, mixed_pairs
from triton_device import DEVICE, needs_triton

from rewardplane.modeling.packing import pack
from rewardplane.modeling.sampling import Sampling, sample_answers, uniforms_of, until_stop
from rewardplane.modeling.static_sampling import LOOK_EVERY, grow

pytestmark = needs_triton
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]


def models(family: str, **overrides: Any) -> tuple[Any, Any]:
    """On the device as it is prepared for packed rows, and transformers' own in float64."""
    whole = {"sliding_window": None} if family == "mistral" else {}
    precise = build(family, causal=True, dtype=torch.float64, attention="sdpa", **whole, **overrides)
    return build(family, causal=True, **whole, **overrides).to(DEVICE), precise


def decoder_of(model: Any, *, owns: bool = False) -> Any:
    from rewardplane.modeling.cuda.decoder import CudaDecoder

    decoder = CudaDecoder.of(model.model, model.dtype, owns=owns, device=DEVICE)
    assert decoder is not None
    return decoder


@torch.inference_mode()
@pytest.mark.parametrize("rows", ["all", "scores", "predictions"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_a_packed_row(family: str, rows: str) -> None:
    model, precise = models(family)
    pairs = mixed_pairs()
    packed = pack(pairs).to(DEVICE)
    only = {"all": None, "scores": packed.score_rows, "predictions": packed.predict_rows}[rows]
    states = decoder_of(model, owns=rows == "scores").hidden(packed, only).double().cpu()
    expected = []
    for pair in pairs:
        tokens = torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids])).long()
        expected.append(precise.model(input_ids=tokens[None], use_cache=False).last_hidden_state[0])
    last = torch.stack([states[-1] for states in expected])
    before = torch.cat([
        states[len(pair.question_ids) - 1 : -1] for pair, states in zip(pairs, expected, strict=True)
    ])  # fmt: skip
    if rows != "predictions":
        torch.testing.assert_close(states[packed.last_index.cpu()], last, atol=1e-4, rtol=1e-4)
    if rows != "scores":
        torch.testing.assert_close(states[packed.predict_index.cpu()], before, atol=1e-4, rtol=1e-4)
    assert states.isfinite().all()


@torch.inference_mode()
def test_weights_are_there_once_and_are_still_the_models() -> None:
    model, _ = models("qwen2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decoder = decoder_of(model, owns=True)
    after = model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    joined, gate = decoder.layers[0].gate_up.weight, model.model.layers[0].mlp.gate_proj.weight
    assert joined.data_ptr() == gate.data_ptr()


def answers(model: Any, questions: Sequence[Any], sampling: Sampling, stops: Sequence[int], each: int) -> list[Any]:
    """As `sample_answers` does it on a GPU."""
    from rewardplane.modeling.cuda.drawing import draw
    from rewardplane.modeling.cuda.reader import CudaReader

    reader = CudaReader(decoder_of(model), model.lm_head, questions, each, sampling.max_answer_tokens)
    uniforms = uniforms_of(sampling, len(questions) * each)

    def choose(logits: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return draw(logits, sampling.temperature, drawn) if sampling.temperature else logits.argmax(-1)

    rows = grow(reader, uniforms, torch.tensor(list(stops), device=DEVICE, dtype=torch.int64), choose)
    return [until_stop(row, stops).tolist() for row in rows]


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_model_on_a_cpu(family: str) -> None:
    model, _ = models(family)
    questions = [ids(np.random.default_rng(0), length) for length in (1, 13)]
    stops = list(range(0, model.config.vocab_size, 20))
    on_cpu = build(family, causal=True, **({"sliding_window": None} if family == "mistral" else {}))
    for sampling in (Sampling(9, seed=11), Sampling(9, temperature=0.5, seed=3, first_answer=9), Sampling(5, 0.0)):
        expected = sample_answers(on_cpu, questions, stops, sampling, answers_per_question=2)
        assert answers(model, questions, sampling, stops, 2) == [answer.tolist() for answer in expected]


@torch.inference_mode()
def test_answers_go_on_alone_when_half_have_ended() -> None:
    model, _ = models("llama")
    questions = [ids(np.random.default_rng(1), length) for length in (5, 9, 30)]
    sampling = Sampling(3 * LOOK_EVERY, seed=2)
    stops = list(range(0, model.config.vocab_size, 8))
    found = answers(model, questions, sampling, stops, 4)
    lengths = sorted(map(len, found))
    assert lengths[len(lengths) // 2] < LOOK_EVERY < lengths[-1]  # else nothing was left behind
    on_cpu = build("llama", causal=True)
    expected = sample_answers(on_cpu, questions, stops, sampling, answers_per_question=4)
    assert found == [answer.tolist() for answer in expected]
