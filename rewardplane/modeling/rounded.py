"""What autocast rounds to. Some of what attention is given comes in float32 all the same: rotary positions widen it."""

from __future__ import annotations

import torch
from torch import Tensor


def rounded_dtype(x: Tensor) -> torch.dtype:
    """The type that a product of `x` is computed in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
