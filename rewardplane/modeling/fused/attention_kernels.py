"""Attention of short segments, forward and backward: what `kernels` is for rows, this is for segments.

Arrays are float32. A segment's queries are its own rows; its keys are those of some runs of rows, its own last. A query
sees all keys before its own, and its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import _inline, _kernel
from .panels import FEW, add_product, small_product
from .registers import SMALL_PANEL
from .vectors import add_scaled, copy_scaled, dot_product, exponentials, largest, multiply_less

TALL, COLUMNS, _ = SMALL_PANEL
BLOCK = 2 * TALL
"""Queries that are computed together."""
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@_inline
def _filled(n: int) -> int:
    return (n + COLUMNS - 1) // COLUMNS * COLUMNS


@_inline
def _apart(firsts: Any, runs: Any) -> int:
    """How far rows with a place for every key lie apart."""
    most = 0
    for segment in range(len(firsts) - 1):
        keys = 0
        for run in range(firsts[segment], firsts[segment + 1]):
            keys += runs[run, 1]
        most = max(most, keys)
    # Rows that lie a power of two apart share few places of a cache.
    return _filled(most) // (2 * COLUMNS) * 2 * COLUMNS + COLUMNS


@_inline
def _load_queries(rows: Any, at: int, apart: int, count: int, width: int, scale: Any, into: Any, stride: int) -> None:
    """into[BLOCK, width] = scale * rows[count, width], and zeros."""
    for i in range(BLOCK):
        if i < count:
            copy_scaled(into, i * stride, rows, at + i * apart, width, scale)
        else:
            into[i * stride : i * stride + width] = ZERO


@_inline
def _load_keys(
    rows: Any, apart: int, column: int, runs: Any, first: int, end: int, width: int, into: Any, stride: int
) -> int:
    """into[keys, width] = rows of the runs, and zeros up to a multiple of COLUMNS; gives how many keys there are."""
    keys = 0
    for run in range(first, end):
        for i in range(runs[run, 0], runs[run, 0] + runs[run, 1]):
            copy_scaled(into, keys * stride, rows, i * apart + column, width, ONE)
            keys += 1
    into[keys * stride : _filled(keys) * stride] = ZERO
    return keys


@_inline
def _add_keys(
    found: Any, stride: int, runs: Any, first: int, end: int, width: int, rows: Any, apart: int, column: int
) -> None:
    key = 0
    for run in range(first, end):
        for i in range(runs[run, 0], runs[run, 0] + runs[run, 1]):
            add_scaled(rows, i * apart + column, found, key * stride, width, ONE)
            key += 1


@_inline
def _turn(rows: Any, stride: int, count: int, width: int, into: Any, apart: int) -> None:
    """into[width, count] = rows[count, width]^T"""
    for i in range(count):
        for d in range(width):
            into[d * apart + i] = rows[i * stride + d]


@_inline
def _multiply(
    into: Any, stride: int, columns: int, left: Any, left_row: int, right: Any, right_step: int, steps: int
) -> None:
    """into[BLOCK, columns] = left[BLOCK, steps] @ right[steps, columns]"""
    for row in range(0, BLOCK, TALL):
        for column in range(0, columns, COLUMNS):
            at = row * stride + column
            small_product(into, at, stride, left, row * left_row, left_row, 1, right, column, right_step, steps)


@_kernel
def attend(
    query: Any, key: Any, value: Any, heads: int, groups: int, width: int, scale: Any,
    starts: Any, firsts: Any, runs: Any, result: Any, log_z: Any, first: int, end: int,
) -> None:  # fmt: skip
    """result = softmax(scale * q k^T) v, log_z = ln of what that divides by; groups of segments, `first` to `end`.

    query, result: [T, heads, width]; key, value: [T, groups, width], where heads / groups heads share one; log_z:
    [T, heads]; all flat. Segment s begins at row starts[s]; its keys are runs[firsts[s]:firsts[s + 1]], each a first
    row and a number of rows. `width` is a multiple of VECTOR.
    """
    sharing, across, apart = heads // groups, heads * width, groups * width
    wide, most = _filled(width), _apart(firsts, runs)
    q, y = np.zeros(BLOCK * wide, np.float32), np.zeros(BLOCK * wide, np.float32)
    k, k_across, v = (
        np.zeros(wide * most, np.float32),
        np.zeros(wide * most, np.float32),
        np.zeros(wide * most, np.float32),
    )
    s, shares = np.zeros(BLOCK * most, np.float32), np.zeros(BLOCK, np.float32)
    for item in range(first, end):
        segment, group = item // groups, item % groups
        from_run, to_run = firsts[segment], firsts[segment + 1]
        length = runs[to_run - 1, 1]
        keys = _load_keys(key, apart, group * width, runs, from_run, to_run, width, k, wide)
        _turn(k, wide, _filled(keys), width, k_across, most)
        _load_keys(value, apart, group * width, runs, from_run, to_run, width, v, wide)
        for head in range(group * sharing, (group + 1) * sharing):
            for block in range(0, length, BLOCK):
                count, row = min(BLOCK, length - block), starts[segment] + block
                seen = keys - length + block + 1  # by the block's first query
                columns = _filled(seen + count - 1)
                _load_queries(query, row * across + head * width, across, count, width, scale, q, wide)
                _multiply(s, most, columns, q, wide, k_across, most, width)
                for i in range(count):
                    top = largest(s, i * most, seen + i)
                    total = exponentials(s, i * most, seen + i, columns, top)
                    shares[i] = ONE / total
                    log_z[(row + i) * heads + head] = top + np.log(total)
                _multiply(y, wide, wide, s, most, v, wide, columns)
                for i in range(count):
                    copy_scaled(result, (row + i) * across + head * width, y, i * wide, width, shares[i])


@_kernel
def attend_backward(
    query: Any, key: Any, value: Any, heads: int, groups: int, width: int, scale: Any,
    starts: Any, firsts: Any, runs: Any, result: Any, log_z: Any, grad: Any,
    grad_query: Any, grad_key: Any, grad_value: Any, first: int, end: int,
) -> None:  # fmt: skip
    """Fills grad_query and adds to grad_key and grad_value; groups `first` to `end`.

    With p = e^(s - log_z): dv = p^T dy, ds = p * (dy v^T - dy . y), dq = scale * ds k, dk = scale * ds^T q.
    """
    sharing, across, apart = heads // groups, heads * width, groups * width
    wide, most = _filled(width), _apart(firsts, runs)
    q, dy, dq = (
        np.zeros(BLOCK * wide, np.float32),
        np.zeros(BLOCK * wide, np.float32),
        np.zeros(BLOCK * wide, np.float32),
    )
    k, k_across = np.zeros(wide * most, np.float32), np.zeros(wide * most, np.float32)
    v, v_across = np.zeros(wide * most, np.float32), np.zeros(wide * most, np.float32)
    dk, dv = np.zeros(wide * most, np.float32), np.zeros(wide * most, np.float32)
    p, ds = np.zeros(BLOCK * most, np.float32), np.zeros(BLOCK * most, np.float32)
    for segment in range(len(starts)):
        from_run, to_run = firsts[segment], firsts[segment + 1]
        length = runs[to_run - 1, 1]
        for group in range(first, end):
            keys = _load_keys(key, apart, group * width, runs, from_run, to_run, width, k, wide)
            _turn(k, wide, _filled(keys), width, k_across, most)
            _load_keys(value, apart, group * width, runs, from_run, to_run, width, v, wide)
            _turn(v, wide, _filled(keys), width, v_across, most)
            dk[: _filled(keys) * wide] = ZERO
            dv[: _filled(keys) * wide] = ZERO
            for head in range(group * sharing, (group + 1) * sharing):
                for block in range(0, length, BLOCK):
                    count, row = min(BLOCK, length - block), starts[segment] + block
                    at = row * across + head * width
                    seen = keys - length + block + 1
                    columns = _filled(seen + count - 1)
                    _load_queries(query, at, across, count, width, scale, q, wide)
                    _load_queries(grad, at, across, count, width, ONE, dy, wide)
                    _multiply(p, most, columns, q, wide, k_across, most, width)
                    _multiply(ds, most, columns, dy, wide, v_across, most, width)
                    for i in range(count):
                        dot = dot_product(dy, i * wide, result, at + i * across, width)
                        exponentials(p, i * most, seen + i, columns, log_z[(row + i) * heads + head])
                        multiply_less(ds, i * most, p, i * most, columns, dot)
                    _multiply(dq, wide, wide, ds, most, k, wide, columns)
                    for i in range(count):
                        copy_scaled(grad_query, at + i * across, dq, i * wide, width, scale)
                    for r in range(0, columns, FEW):
                        for column in range(0, wide, COLUMNS):
                            add_product(dk, r * wide + column, wide, ds, r, 1, most, q, column, wide, count)
                            add_product(dv, r * wide + column, wide, p, r, 1, most, dy, column, wide, count)
            _add_keys(dk, wide, runs, from_run, to_run, width, grad_key, apart, group * width)
            _add_keys(dv, wide, runs, from_run, to_run, width, grad_value, apart, group * width)
