"""A product in parts: their sum is the product in float64, also where nothing is a multiple of a block."""

from __future__ import annotations

import pytest
import torch
from triton_device import DEVICE, INTERPRETED, needs_triton

pytestmark = needs_triton


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(3, 40, 64), (20, 130, 192), (140, 128, 320)])
def test_the_sum_of_the_parts(rows: int, outputs: int, inputs: int, count: int) -> None:
    from rewardplane.modeling.cuda.split_product import split_product

    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(rows, inputs, generator=random), torch.randn(outputs, inputs, generator=random)
    if not INTERPRETED:  # whose product of bfloat16 is one of their bits
        x, weight = x.bfloat16(), weight.bfloat16()
    parts = split_product(x.to(DEVICE), weight.to(DEVICE), count)
    assert parts.shape == (count, rows, outputs)
    torch.testing.assert_close(parts.sum(0).double().cpu(), x.double() @ weight.double().T, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_norm_adds_the_parts_first(parts: int) -> None:
    from rewardplane.modeling.cuda.norm import add_and_norm

    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 24, generator=random), torch.randn(24, generator=random)
    more = torch.randn(parts, 5, 24, generator=random)
    expected = x.double() + more.double().sum(0)
    on_device = x.to(DEVICE)
    found = add_and_norm(on_device, more.to(DEVICE) if parts else None, weight.to(DEVICE), 1e-5).double().cpu()
    torch.testing.assert_close(on_device.double().cpu(), expected, atol=1e-5, rtol=1e-5)
    normed = weight.double() * expected / (expected.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, normed, atol=1e-5, rtol=1e-5)
