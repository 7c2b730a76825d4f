"""The product of a linear layer: what `kernels` is for single rows, this is for blocks of them.

A weight lies in panels of COLUMNS outputs, in each of which neighbours belong to one input, so that a panel of the
result is summed up in registers, input after input. No number of a row depends on how many rows there are.

Arrays are float32. With weights in bfloat16, these and what they multiply are pairs of inputs as int32, and what is
said of inputs here is true of these pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import _kernel
from .panels import row_product, tall_product
from .registers import PANEL

TALL, COLUMNS, _ = PANEL
BLOCK = 32 * TALL
"""Rows that meet one panel before the next: they stay in a core's second cache, the panel in its first."""


@_kernel
def lay_out(weight: Any, panels: Any, first: int, end: int) -> None:
    """panels[P, K, COLUMNS] of weight[N, K]; panels `first` to `end`.

    The last ends with the last output; of one that has more columns than there are outputs, the others are left alone.
    """
    outputs, inputs = weight.shape
    for panel in range(first, end):
        output = max(0, min(panel * COLUMNS, outputs - COLUMNS))
        for k in range(inputs):
            for j in range(min(COLUMNS, outputs)):
                panels[panel, k, j] = weight[output + j, k]


@_kernel
def multiply(x: Any, panels: Any, bias: Any, result: Any, first: int, end: int) -> None:
    """result[T, N] = x[T, :K] @ weight[N, K]^T + bias, rows `first` to `end`; `bias` may be empty."""
    for top in range(first, end, BLOCK):
        bottom = min(top + BLOCK, end)
        if result.shape[1] < COLUMNS:
            if result.shape[1]:
                _multiply_few(x, panels, result, top, bottom)
        else:
            for panel in range(len(panels)):
                _multiply_panel(x, panels, panel, result, top, bottom)
        if len(bias):
            _add_bias(bias, result, top, bottom)


@_kernel
def _multiply_panel(x: Any, panels: Any, panel: int, result: Any, top: int, bottom: int) -> None:
    inputs, apart, outputs = panels.shape[1], x.shape[1], result.shape[1]
    column = min(panel * COLUMNS, outputs - COLUMNS)
    left, right, into = x.reshape(-1), panels.reshape(-1), result.reshape(-1)
    right_at = panel * inputs * COLUMNS
    row = top
    while row < bottom:
        if bottom - top < TALL:
            at = row * outputs + column
            row_product(into, at, outputs, left, row * apart, apart, 1, right, right_at, COLUMNS, inputs)
            row += 1
        else:
            row = min(row, bottom - TALL)  # some rows once more, to the same numbers
            at = row * outputs + column
            tall_product(into, at, outputs, left, row * apart, apart, 1, right, right_at, COLUMNS, inputs)
            row += TALL


@_kernel
def _multiply_few(x: Any, panels: Any, result: Any, top: int, bottom: int) -> None:
    """As `_multiply_panel`, where a panel has more columns than the result."""
    inputs, apart = panels.shape[1], x.shape[1]
    left, right, into = x.reshape(-1), panels.reshape(-1), np.empty(TALL * COLUMNS, np.float32)
    for row in range(top, bottom, TALL):
        rows = min(TALL, bottom - row)
        if rows == TALL:
            tall_product(into, 0, COLUMNS, left, row * apart, apart, 1, right, 0, COLUMNS, inputs)
        else:
            for i in range(rows):
                row_product(into, i * COLUMNS, COLUMNS, left, (row + i) * apart, apart, 1, right, 0, COLUMNS, inputs)
        for i in range(rows):
            for j in range(result.shape[1]):
                result[row + i, j] = into[i * COLUMNS + j]


@_kernel
def _add_bias(bias: Any, result: Any, top: int, bottom: int) -> None:
    for row in range(top, bottom):
        for j in range(len(bias)):
            result[row, j] += bias[j]
