"""Whether there are kernels for a GPU, and what it has. Importing this alone needs no triton."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..tf32 import is_rounded

HAVE_TRITON = importlib.util.find_spec("triton") is not None
HOPPER = (9, 0)
HOPPER_MEMORY = 200 << 10
EIGHT = 8
"""Numbers of two bytes, of which rows are multiples where tiles are copied."""


def has_kernels(x: Tensor) -> bool:
    return HAVE_TRITON and x.is_cuda and x.dtype != torch.float64


def can_sum_products(hidden: Tensor) -> bool:  # [N, d]
    """Whether `logprobs.sum_products` takes it: products of less than float32, rows of a multiple of 16 bytes.

    Before Hopper there is no engine that copies tiles, without which the kernel would wait for every one.
    """
    return (
        has_kernels(hidden)
        and len(hidden) > 0
        and (hidden.dtype != torch.float32 or is_rounded(hidden))
        and hidden.shape[1] * hidden.element_size() % 16 == 0
        and torch.cuda.get_device_capability(hidden.device) >= HOPPER
    )


def can_gate(x: Tensor, weight: Tensor) -> bool:  # [T, K], [2 * D, K]
    """Whether `gated_product` takes them, and is quicker than cuBLAS and a kernel after it."""
    whole = x.shape[1] % EIGHT == len(weight) % (2 * EIGHT) == 0
    return whole and x.element_size() == 2 and shared_memory(x.device) >= HOPPER_MEMORY


@cache
def multiprocessors(device: torch.device) -> int:
    if device.type == "cpu":  # Triton's interpreter
        return 2
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@cache
def shared_memory(device: torch.device) -> int:
    """Bytes that a program can have."""
    if device.type == "cpu":
        return 0
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)
