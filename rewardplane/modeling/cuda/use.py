"""Whether there are kernels for a GPU. Importing this needs no triton, as all other modules here do."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

HAVE_TRITON = importlib.util.find_spec("triton") is not None


def has_kernels(x: Tensor) -> bool:
    return HAVE_TRITON and x.is_cuda and x.dtype != torch.float64
