"""Linear layers by a kernel of ours, on CPUs with AVX2 or AVX-512.

For up to some thousand inputs the kernel gives oneDNN's bits: both add a row's products in the order of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .registers import BFLOAT16, PANEL
from .rows import HAVE_NUMBA, array, borrowed, copied, over_rows, rows_of

TALL, COLUMNS, _ = PANEL
WORK = 32
"""Products that take as long as one number of a kernel that only passes over memory."""
NO_BIAS = np.empty(0, np.float32)
NOT_ROUNDED = np.empty((0, 0), np.float32)
"""Where kernels want room for what they multiply in bfloat16."""
SUPPORTED = HAVE_NUMBA and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def multiplies(weight: Tensor) -> bool:  # [N, K]
    """Whether the kernel is there, and takes such a weight."""
    in_pairs = weight.dtype == torch.bfloat16 and BFLOAT16 and weight.shape[1] % 2 == 0
    return SUPPORTED and (weight.dtype == torch.float32 or in_pairs)


def panels_of(weight: Tensor) -> Tensor:  # [N, K] -> [ceil(N / COLUMNS), K, COLUMNS]
    """The weight as the kernel reads it; in bfloat16 as int32 [ceil(N / COLUMNS), K / 2, COLUMNS]."""
    from .product_kernels import lay_out

    held = weight.detach().contiguous()
    if held.dtype == torch.bfloat16:
        held = held.view(torch.int32)
    outputs, inputs = held.shape
    empty = held.new_zeros if outputs < COLUMNS else held.new_empty
    panels = empty(-(-outputs // COLUMNS), inputs, COLUMNS)
    lay_out(borrowed(held), array(panels), 0, len(panels))
    return panels


def multiply(
    x: Tensor,  # float32[..., K]  rounded where the weight is in bfloat16
    panels: Tensor,  # of a weight [N, K]
    bias: Tensor | None,  # [N]
    outputs: int,  # N
) -> Tensor:  # [..., N]
    """x @ weight^T + bias, without a graph."""
    from .product_kernels import multiply as kernel

    result = x.new_empty(*x.shape[:-1], outputs)
    weights = array(panels)
    x = x.contiguous()
    if panels.dtype == torch.int32:
        x = x.bfloat16().view(torch.int32)
    over_products(kernel, rows_of(x), weights, bias_of(bias), rows_of(result), weights=[weights])
    return result


def over_products(kernel: Callable[..., None], rows: Any, *arguments: Any, weights: Iterable[Any]) -> None:
    """As `over_rows`, for a kernel that multiplies each row by all of `weights`, which are panels."""
    numbers = len(rows) * sum(weight.size for weight in weights)
    over_rows(kernel, rows, *arguments, block=TALL, numbers=numbers // WORK)


def bias_of(bias: Tensor | None) -> Any:
    """As kernels see it."""
    return NO_BIAS if bias is None else copied(bias.float())
