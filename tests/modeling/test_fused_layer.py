"""A layer as two nodes computes what its modules compute, and keeps out where they have changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from one_by_one import WINDOW, build, mixed_pairs
from torch import Tensor

from rewardplane.modeling.attention import UnsupportedAttention
from rewardplane.modeling.fused import layer as fused
from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack

FUSED = ["llama", "mistral", "qwen2"]


@contextmanager
def module_by_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_runs", lambda *_: False)
        yield


def outcome(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs, and gradients of some weighting of them."""
    model.zero_grad()
    logprobs = packed_logprobs(model, pack(mixed_pairs()))
    (logprobs * torch.linspace(-1.0, 1.0, len(logprobs))).sum().backward()
    return logprobs.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every layer that runs as two nodes."""
    calls: list[int] = []
    layer = fused._layer

    def counted(*arguments: Any, **options: Any) -> Tensor:
        calls.append(1)
        return layer(*arguments, **options)

    monkeypatch.setattr(fused, "_layer", counted)
    return calls


@pytest.mark.parametrize("family", FUSED)
def test_the_bits_are_those_of_the_modules(family: str, monkeypatch: pytest.MonkeyPatch, entered: list[int]) -> None:
    biases = {"attention_bias": True, "mlp_bias": True} if family == "llama" else {}
    model = build(family, causal=True, **biases)
    found, gradients = outcome(model)
    assert len(entered) == model.config.num_hidden_layers
    with torch.no_grad():
        assert torch.equal(packed_logprobs(model, pack(mixed_pairs())), found)
    with module_by_module(monkeypatch):
        expected, theirs = outcome(model)
    assert torch.equal(found, expected)
    for name, gradient in gradients.items():
        assert (gradient - theirs[name]).abs().max() <= 2e-6 * theirs[name].abs().max(), name


def test_gradients_are_those_of_float64(entered: list[int]) -> None:
    _, gradients = outcome(build("llama", causal=True))
    assert entered
    _, precise = outcome(build("llama", causal=True, dtype=torch.float64))
    for name, gradient in gradients.items():
        assert (gradient - precise[name]).abs().max() <= 1e-5 * precise[name].abs().max(), name


def test_frozen_weights_get_no_gradient_and_the_others_theirs(entered: list[int]) -> None:
    _, expected = outcome(build("qwen2", causal=True))
    model = build("qwen2", causal=True)
    frozen = {name for name, _ in model.named_parameters() if "k_proj" in name or "up_proj" in name or "norm" in name}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    packed_logprobs(model, pack(mixed_pairs())).sum().backward()
    assert entered
    model.zero_grad()
    logprobs = packed_logprobs(model, pack(mixed_pairs()))
    (logprobs * torch.linspace(-1.0, 1.0, len(logprobs))).sum().backward()
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert parameter.grad is None
        else:
            assert (parameter.grad - expected[name]).abs().max() <= 2e-6 * expected[name].abs().max(), name


def test_whoever_looks_at_a_part_sees_it(entered: list[int]) -> None:
    model = build("llama", causal=False)
    seen: list[int] = []
    model.base_model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        packed_scores(model, pack(mixed_pairs()))
    assert seen == [1]
    assert len(entered) == model.config.num_hidden_layers - 1


def test_a_replaced_part_is_run(entered: list[int]) -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return 2.0 * super().forward(input)

    model = build("llama", causal=False)
    packed = pack(mixed_pairs())
    with torch.no_grad():
        model.base_model.layers[0].self_attn.o_proj.weight.mul_(2.0)
        expected = packed_scores(model, packed)
        model.base_model.layers[0].self_attn.o_proj.weight.div_(2.0)
        model.base_model.layers[0].self_attn.o_proj.__class__ = Doubled
        entered.clear()
        found = packed_scores(model, packed)
    assert len(entered) == model.config.num_hidden_layers - 1
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {"sliding_window": WINDOW}),  # which Llama's attention does not read
        ("mistral", {"sliding_window": WINDOW}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    ],
)
def test_windows_are_those_of_the_family(
    family: str, overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entered: list[int]
) -> None:
    model = build(family, causal=True, **overrides)
    found, _ = outcome(model)
    assert len(entered) == model.config.num_hidden_layers
    with module_by_module(monkeypatch):
        expected, _ = outcome(model)
    assert torch.equal(found, expected)


def test_dropout_is_refused() -> None:
    model = build("llama", causal=False, attention_dropout=0.1).train()
    with pytest.raises(UnsupportedAttention, match="dropout must be off"):
        packed_scores(model, pack(mixed_pairs()))


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt2"])
def test_families_that_add_something_run_their_modules(family: str, entered: list[int]) -> None:
    with torch.no_grad():
        packed_scores(build(family, causal=False), pack(mixed_pairs()))
    assert not entered
