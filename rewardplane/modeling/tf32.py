"""Products of float32 under autocast, where it is turned off for them: bfloat16 would be too coarse.

On a GPU they are rounded to tf32, whose eleven bits lose less than the states lost that come from bfloat16 layers; the
log-prob head of a step takes a fifth of what it takes in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def is_rounded(x: Tensor) -> bool:
    """Whether its products may be: a trainer asked for less than float32."""
    return x.is_cuda and x.dtype == torch.float32 and torch.is_autocast_enabled("cuda")


@contextmanager
def products(device: torch.device, *, rounded: bool) -> Iterator[None]:
    """Without autocast; in tf32 if they are `rounded`."""
    with torch.autocast(device.type, enabled=False):
        if not rounded:
            yield
            return
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
