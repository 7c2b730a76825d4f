"""Attention under autocast is given float32 by rotary positions, and is to round it as a product would."""

from __future__ import annotations

import torch

from rewardplane.modeling.rounded import rounded_dtype


def test_a_product_of_float32_is_rounded_under_autocast_alone() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rounded_dtype(x) == (x @ x).dtype == torch.bfloat16
    assert rounded_dtype(x) == (x @ x).dtype == torch.float32
    assert rounded_dtype(x.bfloat16()) == torch.bfloat16
