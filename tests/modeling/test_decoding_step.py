"""The decoding step that is written out for a CPU, beside transformers' own generate, forward and cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import pytest
import torch
from numpy.typing import NDArray
from one_by_one import WINDOW, build, ids
from tiny_models import VOCABULARY
from torch import Tensor, nn

from rewardplane.modeling import decoding_step
from rewardplane.modeling import prefill as prefill_module
from rewardplane.modeling.decoding_step import WrittenStep
from rewardplane.modeling.fused.rows import array, over_rows
from rewardplane.modeling.prefill import prefill
from rewardplane.modeling.sampling import Sampling, sample_answers
from rewardplane.modeling.written_decoder import WrittenDecoder

Ids = NDArray[np.int32]

LENGTHS = (1, 20, 7, 13)
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with tied embeddings": ("llama", {"tie_word_embeddings": True}),
    "one head of keys": ("llama", {"num_key_value_heads": 1}),
    "a head of keys each": ("llama", {"num_key_value_heads": 4}),
    "scaled angles": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "scaled lengths": (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                             "original_max_position_embeddings": 16}},
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral within its window": ("mistral", {"sliding_window": 60}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "smollm3": ("smollm3", {}),
}  # fmt: skip
"""Families and overrides of their configuration."""


def known(name: str, *, dtype: torch.dtype = torch.float32) -> Any:
    family, overrides = KNOWN[name]
    model = build(family, causal=True, dtype=dtype, **overrides)
    with torch.no_grad():  # as they are at first, norms are all ones and biases zeros
        random = torch.Generator().manual_seed(1)
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += torch.randn(weight.shape, generator=random).to(dtype) * 0.1
    return model


def is_written(model: Any, tokens: int) -> bool:
    return WrittenDecoder.of(model, tokens) is not None


def questions() -> list[Ids]:
    rng = np.random.default_rng(0)
    return [ids(rng, length) for length in LENGTHS]


def answers(model: Any, sampling: Sampling, stops: Any, *, each: int = 3) -> list[list[int]]:
    found = sample_answers(model, questions(), stops, sampling, answers_per_question=each)
    assert all(answer.dtype == np.int32 for answer in found)
    return [answer.tolist() for answer in found]


def through_transformers(model: Any, sampling: Sampling, stops: Any, *, each: int = 3) -> list[list[int]]:
    hook = model.register_forward_pre_hook(lambda *_: None)
    try:
        return answers(model, sampling, stops, each=each)
    finally:
        hook.remove()


def generate(model: Any, stops: list[int] | None, length: int) -> list[list[int]]:
    """transformers' greedy search, question by question."""
    found = []
    for question in questions():
        output = model.generate(
            torch.from_numpy(question.astype(np.int64))[None],
            attention_mask=torch.ones(1, len(question), dtype=torch.int64),
            do_sample=False, max_new_tokens=length, eos_token_id=stops, pad_token_id=0,
        )  # fmt: skip
        found.append(output[0, len(question) :].tolist())
    return found


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of answers at each step of the written kind."""
    counted: list[int] = []

    def read(self: WrittenStep, tokens: Tensor) -> Tensor:
        counted.append(len(tokens))
        return theirs(self, tokens)

    theirs = WrittenStep.read
    monkeypatch.setattr(WrittenStep, "read", read)
    return counted


@pytest.mark.parametrize("name", KNOWN)
def test_greedy_answers_are_those_of_generate(name: str, steps: list[int]) -> None:
    model = known(name)
    assert answers(model, Sampling(20, temperature=0), [], each=1) == generate(model, None, 20)
    assert steps == [4] * 19


@pytest.mark.parametrize("name", KNOWN)
def test_sampled_answers_are_those_of_the_model_and_those_that_end_are_dropped(name: str, steps: list[int]) -> None:
    model = known(name)
    for sampling in (Sampling(25, seed=11), Sampling(25, temperature=0.5, seed=3, first_answer=9)):
        stops = range(0, VOCABULARY, 12)
        expected = through_transformers(model, sampling, stops)
        assert not steps
        assert answers(model, sampling, stops) == expected
        lengths = [len(answer) for answer in expected]
        assert len(set(lengths)) > 3
        # Every token but an answer's last is read.
        assert steps == [sum(length > number for length in lengths) for number in range(1, max(lengths))]
        steps.clear()


@pytest.mark.parametrize("room", [1, 5, 32])
def test_answers_may_be_longer_than_the_room_there_is_at_first(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_step, "FIRST_ROOM", room)
    model, sampling, stops = known("qwen3"), Sampling(70, seed=5), range(0, VOCABULARY, 40)
    expected = through_transformers(model, sampling, stops)
    assert max(len(answer) for answer in expected) > 40
    assert answers(model, sampling, stops) == expected


@torch.inference_mode()
def logits(model: Any, answer: Tensor) -> Tensor:  # [4 * 2, 1 + A, V]
    """After the question and each token of `answer`, int64[4 * 2, A]."""
    decoder = WrittenDecoder.of(model, max(LENGTHS) + answer.shape[1])
    assert decoder is not None
    start = prefill(model, questions(), 2, decoder)
    step = WrittenStep(decoder, start)
    return torch.stack([start.logits, *(step.read(tokens) for tokens in answer.T)], 1)


@torch.inference_mode()
def precise_logits(model: Any, answer: Tensor) -> Tensor:
    """transformers' own in float64, of one sequence at a time."""
    model = model.double()
    model.set_attn_implementation("eager")
    found = []
    for row, tokens in enumerate(answer):
        question = torch.from_numpy(questions()[row // 2].astype(np.int64))
        whole = model(input_ids=torch.cat([question, tokens])[None]).logits[0]
        found.append(whole[len(question) - 1 :])
    return torch.stack(found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)], ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_logits_are_those_of_float64(name: str, dtype: torch.dtype, tolerance: float) -> None:
    answer = torch.from_numpy(np.random.default_rng(3).integers(3, VOCABULARY, (8, 12)))
    found = logits(known(name, dtype=dtype), answer)
    expected = precise_logits(known(name, dtype=dtype), answer)
    assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize(("short", "together"), [(0, 256), (20, 256), (19, 256), (64, 1), (64, 27)])
def test_questions_may_be_read_by_the_model_or_a_few_at_a_time(
    short: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill_module, "SHORT", short)
    monkeypatch.setattr(prefill_module, "TOGETHER", together)
    answer = torch.from_numpy(np.random.default_rng(4).integers(3, VOCABULARY, (8, 3)))
    found, expected = logits(known("qwen3"), answer), precise_logits(known("qwen3"), answer)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_change_of_the_weights_is_seen() -> None:
    model = known("llama with biases")
    before = answers(model, Sampling(10, seed=1), [])
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    after = answers(model, Sampling(10, seed=1), [])
    assert after == through_transformers(model, Sampling(10, seed=1), [])
    assert sum(a == b for a, b in zip(after, before, strict=True)) < 6


def with_adapters(model: Any) -> None:
    peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))


def with_another_projection(model: Any) -> None:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model.model.layers[1].mlp.up_proj.__class__ = Twice


def with_a_hook(model: Any) -> None:
    model.model.layers[0].register_forward_hook(lambda _module, _inputs, output: 1.5 * output)


def with_another_forward(model: Any) -> None:
    norm = model.model.norm
    norm.forward = lambda x: -x


@pytest.mark.parametrize("change", [with_adapters, with_another_projection, with_a_hook, with_another_forward])
def test_what_is_not_transformers_own_runs_through_the_model(change: Callable[[Any], None], steps: list[int]) -> None:
    model = known("llama")
    before = answers(model, Sampling(8, temperature=0), [], each=1)
    assert steps
    steps.clear()
    change(model)
    found = answers(model, Sampling(8, temperature=0), [], each=1)
    assert found == generate(model, None, 8)
    assert found != before
    assert not steps


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("gpt2", {}),
        ("gemma", {}),
        ("mistral", {"sliding_window": WINDOW}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
        ("llama", {"hidden_act": "gelu"}),
    ],
)
def test_other_families_run_through_the_model(family: str, overrides: dict[str, Any], steps: list[int]) -> None:
    model = build(family, causal=True, **overrides)
    assert answers(model, Sampling(12, temperature=0), [], each=1) == generate(model, None, 12)
    assert not steps


def test_a_window_counts_from_where_a_sequence_may_be_longer() -> None:
    model = build("mistral", causal=True, sliding_window=30)
    assert is_written(model, 30)
    assert not is_written(model, 31)


def test_it_keeps_out_of_training_float64_autocast_and_mixed_types() -> None:
    model = known("llama")
    assert is_written(model, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not is_written(model, 10)
    assert not is_written(model.train(), 10)
    assert not is_written(model.eval().double(), 10)
    model.float().model.norm.bfloat16()
    assert not is_written(model, 10)


def test_an_unprepared_model_has_it_too(steps: list[int]) -> None:
    model = build("qwen3", causal=True, attention="eager")
    assert answers(model, Sampling(12, temperature=0), [], each=1) == generate(model, None, 12)
    assert steps


def test_threads_divide_the_rows_of_a_kernel_that_reads_more_than_them() -> None:
    def doubled(x: Any, result: Any, first: int, end: int) -> None:
        parts.append((first, end))
        result[first:end] = 2 * x[first:end]

    parts: list[tuple[int, int]] = []
    x, result = torch.arange(10.0).view(5, 2), torch.zeros(5, 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        over_rows(doubled, array(x), array(result), block=1, numbers=1 << 20)
    finally:
        torch.set_num_threads(threads)
    assert sorted(parts) == [(0, 2), (2, 5)]
    assert torch.equal(result, 2 * x)
