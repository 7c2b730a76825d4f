"""Products that end in something else give what float64 gives."""

from __future__ import annotations

import pytest
import torch
from triton_device import DEVICE, INTERPRETED, needs_triton

pytestmark = needs_triton


@pytest.mark.parametrize("shape", [(1, 32, 8), (130, 40, 136), (300, 72, 260)], ids=str)
def test_a_gated_product(shape: tuple[int, int, int]) -> None:
    from rewardplane.modeling.cuda.gated_product import gated_product

    rows, width, half = shape
    random = torch.Generator().manual_seed(0)
    dtype = torch.float32 if INTERPRETED else torch.bfloat16  # which the interpreter multiplies wrongly
    x, weight = (torch.randn(n, width, generator=random).to(dtype) for n in (rows, 2 * half))
    gate, up = (x.double() @ weight.double().T).split(half, dim=1)
    found = gated_product(x.to(DEVICE), weight.to(DEVICE)).double().cpu()
    torch.testing.assert_close(found, gate * gate.sigmoid() * up, atol=1e-4, rtol=1e-5 if INTERPRETED else 1e-2)
