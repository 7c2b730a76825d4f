"""The number format of forward and backward; weights, gradients and optimizer stay in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""bfloat16 is autocast over float32 weights; auto takes it where the device multiplies it faster."""


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a trainer computes its loss; leave it before `backward`."""
    if resolve(precision, device) == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def resolve(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """Decides "auto". A CPU without bfloat16 instructions emulates it, 10 times slower than float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_instructions = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device.type == "cpu" and has_instructions else "float32"
