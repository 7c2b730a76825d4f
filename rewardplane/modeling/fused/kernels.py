"""The kernels, over rows `first` to `end` of two-dimensional arrays: float32, or bfloat16 as uint16.

All compute in float32. NaN and infinity go through as in torch: no optimisation is allowed that forgets them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload

SUMMED = 1024
"""Numbers that are added in float32 before their sum is added in float64."""

F = TypeVar("F", bound=Callable[..., Any])

FAST = {"reassoc", "nsz", "arcp", "contract", "afn"}
"""Sums may be taken in another order, as vectors need it: in the same one in every run."""


def compiled(function: F, freedom: Any = FAST) -> F:
    """When it is first called, for each kind of array; kept on disk where there is a place for it."""
    compile_it: Any = partial(njit, nogil=True, fastmath=freedom, error_model="numpy")
    try:
        kernel: F = compile_it(cache=True)(function)
    except RuntimeError:  # no directory that numba may write
        kernel = compile_it()(function)
    return kernel


_kernel = compiled


def _inline(function: F) -> F:
    """Part of the kernels that call it: their rows share its loop, and vectors do."""
    compiled: Any = njit(inline="always", fastmath=FAST, error_model="numpy")(function)
    return compiled  # type: ignore[no-any-return]


def _number(stored: Any) -> Any:
    """float32 of what an array holds."""
    raise NotImplementedError


def _stored(number: Any, like: Any) -> Any:
    """What an array with `like` in it holds for a float32."""
    raise NotImplementedError


@overload(_number, inline="always")
def _number_of(stored: Any) -> Any:
    def widened(stored: Any) -> Any:
        return np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)

    def same(stored: Any) -> Any:
        return stored

    return widened if stored == types.uint16 else same


@overload(_stored, inline="always")
def _stored_as(number: Any, like: Any) -> Any:
    def rounded(number: Any, like: Any) -> Any:  # to nearest, ties to even
        bits = np.float32(number).view(np.uint32)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    def same(number: Any, like: Any) -> Any:
        return number

    return rounded if like == types.uint16 else same


@_inline
def _exp(x: Any) -> Any:
    """e^x to 2e-7 relative: 2^n * e^r with |r| <= ln 2 / 2, e^r by Cephes' polynomial. Vectors have no other."""
    z = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(z * np.float32(1.44269504088896341) + np.float32(0.5))
    r = z - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    known = p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    small = np.float32(0.0) if x < np.float32(-87.0) else known
    large = np.float32(np.inf) if x > np.float32(88.0) else small
    return x if x != x else large  # NaN stays what it is


@_inline
def _sigmoid(x: Any) -> Any:
    return np.float32(1.0) / (np.float32(1.0) + _exp(-x))


@_kernel
def rms_norm(x: Any, weight: Any, eps: Any, result: Any, scales: Any, first: int, end: int) -> None:
    """result = weight * x * scale, scales[i] = 1 / sqrt(mean(x[i]^2) + eps)."""
    width = x.shape[1]
    for i in range(first, end):
        total = np.float32(0.0)
        for j in range(width):
            v = _number(x[i, j])
            total += v * v
        scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + eps)
        scales[i] = scale
        for j in range(width):
            result[i, j] = _stored(_number(weight[j]) * (_number(x[i, j]) * scale), x[i, j])


@_kernel
def rms_norm_backward(
    x: Any, grad: Any, weight: Any, scales: Any, grad_x: Any, grad_weight: Any, block: int, first: int, end: int
) -> None:
    """Adds to grad_weight, float64[N / block, D]: a row for each `block` rows."""
    width = x.shape[1]
    for i in range(first, end):
        scale = scales[i]
        dot = np.float32(0.0)
        for j in range(width):
            dot += _number(grad[i, j]) * _number(weight[j]) * _number(x[i, j])
        back = dot * scale * scale * scale / np.float32(width)
        for j in range(width):
            g, v = _number(grad[i, j]), _number(x[i, j])
            grad_x[i, j] = _stored(g * _number(weight[j]) * scale - v * back, x[i, j])
            grad_weight[i // block, j] += np.float64(g * v * scale)


@_inline
def _swiglu_row(gate: Any, up: Any, result: Any, i: int) -> None:
    for j in range(gate.shape[1]):
        g = _number(gate[i, j])
        result[i, j] = _stored(g * _sigmoid(g) * _number(up[i, j]), gate[i, j])


@_kernel
def swiglu(gate: Any, up: Any, result: Any, first: int, end: int) -> None:
    """result = silu(gate) * up"""
    for i in range(first, end):
        _swiglu_row(gate, up, result, i)


@_kernel
def swiglu_in_place(gate: Any, up: Any, first: int, end: int) -> None:
    """gate = silu(gate) * up; a kernel of its own, as arrays that may overlap are not computed in vectors."""
    for i in range(first, end):
        _swiglu_row(gate, up, gate, i)


@_kernel
def swiglu_backward(gate: Any, up: Any, grad: Any, grad_gate: Any, grad_up: Any, first: int, end: int) -> None:
    """d silu(g) / dg = s * (1 + g * (1 - s)), s = sigmoid(g)"""
    for i in range(first, end):
        for j in range(gate.shape[1]):
            g, d = _number(gate[i, j]), _number(grad[i, j])
            s = _sigmoid(g)
            grad_up[i, j] = _stored(d * g * s, gate[i, j])
            slope = s * (np.float32(1.0) + g * (np.float32(1.0) - s))
            grad_gate[i, j] = _stored(d * _number(up[i, j]) * slope, gate[i, j])


@_inline
def _rotate_row(x: Any, cos: Any, sin: Any, sign: Any, result: Any, i: int) -> None:
    width = cos.shape[1]
    half = width // 2
    for head in range(0, x.shape[1], width):
        for j in range(half):
            a, b = _number(x[i, head + j]), _number(x[i, head + half + j])
            c, s = _number(cos[i, j]), sign * _number(sin[i, j])
            result[i, head + j] = _stored(a * c - b * s, x[i, head + j])
            result[i, head + half + j] = _stored(b * c + a * s, x[i, head + j])


@_kernel
def rotate(x: Any, cos: Any, sin: Any, sign: Any, result: Any, first: int, end: int) -> None:
    """Rotates each head of a row by its angles; `sign` -1 rotates back. RoFormer (arXiv:2104.09864) eq. 34.

    x, result: [T, H * D]; cos, sin: [T, D], whose halves are equal.
    """
    for i in range(first, end):
        _rotate_row(x, cos, sin, sign, result, i)


@_kernel
def rotate_in_place(x: Any, cos: Any, sin: Any, first: int, end: int) -> None:
    for i in range(first, end):
        _rotate_row(x, cos, sin, np.float32(1.0), x, i)


@_kernel
def normalisers(logits: Any, tops: Any, log_z: Any, entropies: Any, first: int, end: int) -> None:
    """log_z = ln sum e^logits; entropies = ln Z - E[logits], of each row, whose largest logit is known."""
    width = logits.shape[1]
    for i in range(first, end):
        top = tops[i]
        total, moment = np.float64(0.0), np.float64(0.0)
        for start in range(0, width, SUMMED):
            part, part_moment = np.float32(0.0), np.float32(0.0)
            for j in range(start, min(start + SUMMED, width)):
                below = logits[i, j] - top
                e = _exp(below)
                part += e
                part_moment += e * below
            total += part
            moment += part_moment
        log_z[i] = top + np.log(total)
        entropies[i] = np.log(total) - moment / total


@_kernel
def logprob_backward(
    logits: Any, log_z: Any, token_ids: Any, grad: Any, temperature: Any, result: Any, first: int, end: int
) -> None:
    """result = grad / temperature * (onehot(token) - softmax(logits)): of the logits before the division."""
    for i in range(first, end):
        slope = grad[i] / temperature
        for j in range(logits.shape[1]):
            result[i, j] = -slope * _exp(logits[i, j] - log_z[i])
        result[i, token_ids[i]] += slope
