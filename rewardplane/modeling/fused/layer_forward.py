"""What a decoder layer computes on both sides of its attention, and what its backward wants of it, without a graph.

One kernel does a side where the products are ours; else it goes from product to product, to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..cpu_linear import laid_out, linear
from .norm import Scales, normed
from .product import NOT_ROUNDED, bias_of, multiplies, over_products
from .rotary import turn
from .rows import VECTOR, array, copied, rows_of
from .swiglu import swiglu_apart

Weights = Sequence[Tensor | None]
"""A weight [N, K] and a bias [N], or None, of each product."""


class Projected(NamedTuple):
    """Queries are zero where they are not read."""

    query: Tensor  # [1, T, H * D]
    key: Tensor  # [1, T, G * D]
    value: Tensor  # [1, T, G * D]
    states: Tensor  # [1, T, d]  after the norm
    scales: Scales  # [T]


class Fed(NamedTuple):
    """Of the rows that are read."""

    result: Tensor  # [1, R, d]
    middle: Tensor  # [1, R, d]  between attention and feed-forward part
    states: Tensor  # [1, R, d]  after the norm
    gate: Tensor  # [1, R, I]
    up: Tensor  # [1, R, I]
    hidden: Tensor  # [1, R, I]
    scales: Scales  # [R]


def project(
    x: Tensor,  # [1, T, d]
    cos: Tensor,  # [1, T, D]
    sin: Tensor,  # [1, T, D]
    read: Tensor | None,  # int64[R]
    eps: float,
    norm: Tensor,  # [d]
    *projections: Tensor | None,  # as `Weights`
) -> Projected:
    """Queries, keys and values, turned to their positions."""
    if read is None and are_ours(projections[::2]):
        return _project_at_once(x, cos, sin, eps, norm, projections)
    states, scales = normed(x, norm, eps)
    query, key, value = (
        linear(rows, weight, bias)  # type: ignore[arg-type]
        for rows, weight, bias in zip(
            (only(states, read), states, states), projections[::2], projections[1::2], strict=True
        )
    )
    query = spread(query, read, x.shape[1])
    turn(query, cos, sin)
    turn(key, cos, sin)
    return Projected(query, key, value, states, scales)


def _project_at_once(x: Tensor, cos: Tensor, sin: Tensor, eps: float, norm: Tensor, projections: Weights) -> Projected:
    from .layer_kernels import queries_keys_values

    query, key, value = _results(x, projections)
    states, scales = torch.empty_like(x), np.empty(x.shape[1], np.float32)
    weights = arrays_of(projections)
    over_products(
        queries_keys_values, rows_of(x), copied(norm), np.float32(eps), rows_of(cos), rows_of(sin),
        *weights, rows_of(states), NOT_ROUNDED, scales, *map(rows_of, (query, key, value)), weights=weights[::2],
    )  # fmt: skip
    return Projected(query, key, value, states, scales)


def feed(
    x: Tensor,  # [1, R, d]  what went into the layer
    attended: Tensor,  # [1, R, H * D]
    eps: float,
    o_weight: Tensor,
    o_bias: Tensor | None,
    norm: Tensor,  # [d]
    *products: Tensor | None,  # as `Weights`
) -> Fed:
    """The output projection and the feed-forward part, each added to what went in."""
    weights = (o_weight, o_bias, *products)
    if are_ours(weights[::2]):
        return _feed_at_once(x, attended, eps, norm, weights)
    middle = linear(attended, o_weight, o_bias).add_(x)
    states, scales = normed(middle, norm, eps)
    gate, up = linear(states, *products[0:2]), linear(states, *products[2:4])  # type: ignore[arg-type]
    hidden = swiglu_apart(gate, up)
    result = linear(hidden, *products[4:6]).add_(middle)  # type: ignore[arg-type]
    return Fed(result, middle, states, gate, up, hidden, scales)


def _feed_at_once(x: Tensor, attended: Tensor, eps: float, norm: Tensor, weights: Weights) -> Fed:
    from .layer_kernels import feed_forward

    middle, gate, up, result = _results(x, weights)
    states, hidden, scales = torch.empty_like(x), torch.empty_like(gate), np.empty(x.shape[1], np.float32)
    fed = Fed(result, middle, states, gate, up, hidden, scales)
    arrays = arrays_of(weights)
    over_products(
        feed_forward, rows_of(attended.contiguous()), rows_of(x), copied(norm), np.float32(eps), *arrays,
        *map(rows_of, fed[:-1]), NOT_ROUNDED, scales, weights=arrays[::2],
    )  # fmt: skip
    return fed


def are_ours(weights: Sequence[Tensor | None]) -> bool:
    """And of widths that fill vectors, for what lies between products."""
    return all(
        multiplies(weight) and weight.shape[0] % VECTOR == weight.shape[1] % VECTOR == 0
        for weight in weights
        if weight is not None
    )


def arrays_of(weights: Weights) -> list[Any]:
    """As kernels read them."""
    parts: list[Any] = []
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        assert weight is not None
        parts += [array(laid_out(weight)), bias_of(bias)]
    return parts


def _results(x: Tensor, weights: Weights) -> list[Tensor]:
    return [x.new_empty(1, x.shape[1], len(weight)) for weight in weights[::2] if weight is not None]


def only(x: Tensor, read: Tensor | None) -> Tensor:  # [1, T, W] -> [1, R, W]
    return x if read is None else x.index_select(1, read)


def spread(x: Tensor, read: Tensor | None, num_tokens: int) -> Tensor:  # [1, R, W] -> [1, T, W], zero elsewhere
    return x if read is None else x.new_zeros(1, num_tokens, x.shape[2]).index_copy_(1, read, x)
