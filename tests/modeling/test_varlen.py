"""Attention of a packed row on a GPU: one variable-length call gives what segments one by one give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_by_one import build, ids
from torch import Tensor

from rewardplane.modeling import attention
from rewardplane.modeling.models import packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs one CUDA device with flash attention"),
]


def run(family: str, *, autocast: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores and the gradient of the embedding: bf16 in one call, and float32 on the same device segment by segment."""
    rng = np.random.default_rng(0)
    questions = [ids(rng, n) for n in (5, 40, 130)]
    pairs = [TokenPair(q, ids(rng, n)) for q in questions for n in (1, 17, 64)]
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        packed = pack(pairs).to("cuda")
        model = build(family, causal=False).to("cuda", torch.float32 if autocast else dtype)
        with torch.autocast("cuda", dtype=dtype, enabled=autocast and dtype == torch.bfloat16):
            scores = packed_scores(model, packed)
        scores.sum().backward()
        assert ("varlen" in vars(packed)) == (dtype == torch.bfloat16)
        assert ("layout" in vars(packed)) == (dtype == torch.float32)
        found += [scores.detach().float(), model.get_input_embeddings().weight.grad.float()]
    return found[0], found[2], found[1], found[3]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "gpt_neox", "gpt2"])
def test_scores_and_gradients_are_those_of_float32_to_the_rounding_of_bf16(
    family: str, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    varlen = attention.attend_varlen
    monkeypatch.setattr(attention, "attend_varlen", lambda *a: calls.append(1) or varlen(*a))
    scores, expected, gradient, expected_gradient = run(family, autocast=autocast)
    assert calls  # bf16 went through the one call
    assert (scores - expected).abs().max() < 0.05 * expected.std()
    assert (gradient - expected_gradient).norm() < 0.05 * expected_gradient.norm()
