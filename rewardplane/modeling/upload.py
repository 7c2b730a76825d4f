"""From host memory to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def upload(values: Tensor, device: torch.device | str) -> Tensor:
    """Copies to the device; the host does not wait for a GPU, which reads page-locked memory by itself."""
    if torch.device(device).type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
