"""Linear layers by a kernel of ours, on CPUs with AVX2 or AVX-512.

For up to some thousand inputs the kernel gives oneDNN's bits: both add a row's products in the order of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .registers import PANEL
from .rows import HAVE_NUMBA, array, borrowed, copied, over_rows, rows_of

TALL, COLUMNS, _ = PANEL
WORK = 32
"""Products that take as long as one number of a kernel that only passes over memory."""
NO_BIAS = np.empty(0, np.float32)
SUPPORTED = HAVE_NUMBA and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def panels_of(weight: Tensor) -> Tensor:  # [N, K] -> [ceil(N / COLUMNS), K, COLUMNS]
    """The weight as the kernel reads it."""
    from .product_kernels import lay_out

    outputs, inputs = weight.shape
    panels = weight.new_empty(-(-outputs // COLUMNS), inputs, COLUMNS)
    held = weight.detach().contiguous()
    lay_out(borrowed(held), array(panels), 0, len(panels))
    return panels


def multiply(
    x: Tensor,  # [..., K]
    panels: Tensor,  # of a weight [N, K]
    bias: Tensor | None,  # [N]
    outputs: int,  # N
) -> Tensor:  # [..., N]
    """x @ weight^T + bias, without a graph."""
    from .product_kernels import multiply as kernel

    result = x.new_empty(*x.shape[:-1], outputs)
    weights = array(panels)
    over_products(kernel, rows_of(x.contiguous()), weights, bias_of(bias), rows_of(result), weights=[weights])
    return result


def over_products(kernel: Callable[..., None], rows: Any, *arguments: Any, weights: Iterable[Any]) -> None:
    """As `over_rows`, for a kernel that multiplies each row by all of `weights`, which are panels."""
    numbers = len(rows) * sum(weight.size for weight in weights)
    over_rows(kernel, rows, *arguments, block=TALL, numbers=numbers // WORK)


def bias_of(bias: Tensor | None) -> Any:
    """As kernels see it."""
    return NO_BIAS if bias is None else copied(bias)
