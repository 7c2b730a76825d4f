"""A frozen decoder gives the bits of the model that it was made of, and leaves alone what it does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from one_by_one import build, mixed_pairs
from torch import Tensor

from rewardplane.modeling import frozen_layers
from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.frozen import freeze
from rewardplane.modeling.frozen_decoder import FrozenDecoder
from rewardplane.modeling.fused.product import SUPPORTED
from rewardplane.modeling.packing import PackedPairs, pack
from rewardplane.wire import TokenPair

pytestmark = pytest.mark.skipif(
    not SUPPORTED, reason="needs a CPU with AVX2 or AVX-512, and numba: elsewhere products are oneDNN's"
)
FAMILIES = ["llama", "mistral", "qwen2"]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every row that a frozen decoder computes."""
    calls: list[int] = []
    hidden = FrozenDecoder.hidden

    def counted(self: FrozenDecoder, packed: PackedPairs, only: Tensor | None) -> Tensor:
        calls.append(packed.num_tokens)
        return hidden(self, packed, only)

    monkeypatch.setattr(FrozenDecoder, "hidden", counted)
    return calls


def frozen_model(family: str, **overrides: Any) -> Any:
    whole = {"sliding_window": None} if family == "mistral" else {}
    return build(family, causal=False, **whole, **overrides).requires_grad_(False)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", ["all", "scores", "predictions"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bits_are_those_of_the_modules(
    family: str, rows: str, threads: int, entered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_layers, "WORTH_A_THREAD", 1)
    model, packed = frozen_model(family), pack(mixed_pairs())
    only = {"all": None, "scores": packed.score_rows, "predictions": packed.predict_rows}[rows]
    read = torch.arange(packed.num_tokens - packed.num_filler_tokens) if only is None else only
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            expected = packed_hidden(model.base_model, packed, only)
            freeze(model.base_model)
            found = packed_hidden(model.base_model, packed, only)
    finally:
        torch.set_num_threads(before)
    assert entered == [packed.num_tokens]
    assert torch.equal(found[read], expected[read])
    assert found.isfinite().all()


def test_gradients_go_through_the_modules(entered: list[int]) -> None:
    model = frozen_model("llama")
    freeze(model.base_model)
    packed_hidden(model.base_model, pack(mixed_pairs()))
    assert entered == []


def test_a_row_that_is_wider_than_a_window_goes_through_the_modules(entered: list[int]) -> None:
    model = build("mistral", causal=False).requires_grad_(False)
    freeze(model.base_model)
    with torch.inference_mode():
        packed_hidden(model.base_model, pack(mixed_pairs()))
        assert entered == []
        packed_hidden(model.base_model, short := pack(mixed_pairs()[6:7]))  # 3 and 4 tokens: each sees all before it
    assert entered == [short.num_tokens]


def test_a_segment_that_is_too_long_for_the_kernel_goes_through_the_modules(entered: list[int]) -> None:
    model = frozen_model("llama")
    freeze(model.base_model)
    long = TokenPair(np.full(1000, 3, np.int32), np.full(30, 4, np.int32))
    with torch.inference_mode():
        hidden = packed_hidden(model.base_model, pack([*mixed_pairs(), long]))
    assert entered == []
    assert hidden.isfinite().all()


@pytest.mark.parametrize("change", ["adapter", "hook", "training", "family"])
def test_what_is_not_as_transformers_wrote_it_is_left_alone(change: str) -> None:
    model = frozen_model("qwen3" if change == "family" else "llama")
    backbone = model.base_model
    if change == "adapter":
        backbone.layers[0].mlp.up_proj = torch.nn.Sequential(backbone.layers[0].mlp.up_proj)
    elif change == "hook":
        backbone.layers[1].register_forward_hook(lambda *_: None)
    elif change == "training":
        backbone.train()
    assert FrozenDecoder.of(backbone) is None
    assert FrozenDecoder.of(frozen_model("llama").base_model) is not None
