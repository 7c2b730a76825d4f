"""Tokens drawn by two kernels are those of the cumulative distribution in float64."""

from __future__ import annotations

import pytest
import torch
from triton_device import DEVICE, needs_triton

pytestmark = needs_triton


def cumulative(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return (logits.double() / temperature).softmax(-1).cumsum(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [5, 2048, 5000])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_first_token_above_the_threshold(vocabulary: int, temperature: float, dtype: torch.dtype) -> None:
    from rewardplane.modeling.cuda.drawing import draw

    random = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(40, vocabulary, generator=random)).to(dtype)
    uniforms = torch.rand(40, generator=random)
    uniforms[:2] = torch.tensor([0.0, 1 - 2**-24])
    a_column_of_many = torch.stack([uniforms, uniforms.flip(0)], 1).to(DEVICE)[:, 0]
    found = draw(logits.to(DEVICE), temperature, a_column_of_many).cpu()
    sums = cumulative(logits, temperature)
    below = torch.where(found > 0, sums.gather(1, (found - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    above = sums.gather(1, found[:, None])[:, 0]
    assert (below <= uniforms + 1e-5).all()
    assert (above > uniforms - 1e-5).all()


@pytest.mark.parametrize("allowed", [[0], [4999], [2047, 2048], [17, 4098]])
def test_an_impossible_token_is_never_drawn(allowed: list[int]) -> None:
    from rewardplane.modeling.cuda.drawing import draw

    logits = torch.full((101, 5000), -torch.inf)
    logits[:, allowed] = 0.0
    uniforms = torch.linspace(0, 1 - 2**-24, 101)
    found = draw(logits.to(DEVICE), 1.0, uniforms.to(DEVICE)).cpu().tolist()
    assert set(found) == set(allowed)
    assert found == sorted(found)
