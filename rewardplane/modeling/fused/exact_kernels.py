"""What `kernels` has for layers, in float32, for widths that fill vectors: to the same bits wherever it is called.

It is compiled as it is written: no sum is taken in another order, and no product joins a sum but where it says so.
What `kernels` has may be rounded otherwise where it became part of another kernel.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .kernels import compiled
from .vectors import dot_product, gated, rotate_halves, scale_by

ONE = np.float32(1.0)

_exactly = partial(compiled, freedom=False)


@_exactly
def rms_norm(x: Any, weight: Any, eps: Any, result: Any, scales: Any, first: int, end: int) -> None:
    """result = weight * x * scale, scales[i] = 1 / sqrt(mean(x[i]^2) + eps)."""
    width = x.shape[1]
    numbers, into = x.reshape(-1), result.reshape(-1)
    for i in range(first, end):
        mean = dot_product(numbers, i * width, numbers, i * width, width) / np.float32(width)
        scales[i] = ONE / np.sqrt(mean + eps)
        scale_by(into, numbers, i * width, weight, width, scales[i])


@_exactly
def swiglu(gate: Any, up: Any, result: Any, first: int, end: int) -> None:
    """result = silu(gate) * up"""
    width = gate.shape[1]
    gated(result.reshape(-1), gate.reshape(-1), up.reshape(-1), first * width, (end - first) * width)


@_exactly
def swiglu_in_place(gate: Any, up: Any, first: int, end: int) -> None:
    """gate = silu(gate) * up"""
    swiglu(gate, up, gate, first, end)


@_exactly
def rotate(x: Any, cos: Any, sin: Any, sign: Any, result: Any, first: int, end: int) -> None:
    """As `kernels.rotate`."""
    across, width = x.shape[1], cos.shape[1]
    numbers, into, of_cos, of_sin = x.reshape(-1), result.reshape(-1), cos.reshape(-1), sin.reshape(-1)
    for i in range(first, end):
        for head in range(0, across, width):
            rotate_halves(into, numbers, i * across + head, of_cos, of_sin, i * width, width // 2, sign)


@_exactly
def rotate_in_place(x: Any, cos: Any, sin: Any, first: int, end: int) -> None:
    rotate(x, cos, sin, ONE, x, first, end)
