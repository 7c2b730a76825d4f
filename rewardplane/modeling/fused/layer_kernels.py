"""A decoder layer on both sides of its attention, each one call: no other thread waits for Python between its products.

Rows are taken block by block, so that what one step leaves is still in a core's cache when the next one reads it.
Weights are float32 or pairs of bfloat16; all else is float32, and what bfloat16 multiplies is rounded once.
"""

from __future__ import annotations

from typing import Any

from .attention_kernels import attend
from .exact_kernels import rms_norm, rotate_in_place, swiglu
from .kernels import _kernel
from .meeting import meet
from .product_kernels import BLOCK, multiply
from .rounding import as_factors


@_kernel
def queries_keys_values(
    x: Any, norm: Any, eps: Any, cos: Any, sin: Any,
    q_weight: Any, q_bias: Any, k_weight: Any, k_bias: Any, v_weight: Any, v_bias: Any,
    states: Any, rounded: Any, scales: Any, query: Any, key: Any, value: Any, first: int, end: int,
) -> None:  # fmt: skip
    """states = norm(x); query, key and value = states @ weight + bias, and the first two turned to their positions.

    Each weight is its transpose's panels; `rounded` is what `as_factors` wants.
    """
    for top in range(first, end, BLOCK):
        bottom = min(top + BLOCK, end)
        rms_norm(x, norm, eps, states, scales, top, bottom)
        factors = as_factors(states, rounded, top, bottom)
        multiply(factors, q_weight, q_bias, query, top, bottom)
        multiply(factors, k_weight, k_bias, key, top, bottom)
        multiply(factors, v_weight, v_bias, value, top, bottom)
        rotate_in_place(query, cos, sin, top, bottom)
        rotate_in_place(key, cos, sin, top, bottom)


@_kernel
def feed_forward(
    attended: Any, x: Any, norm: Any, eps: Any,
    o_weight: Any, o_bias: Any, gate_weight: Any, gate_bias: Any, up_weight: Any, up_bias: Any,
    down_weight: Any, down_bias: Any,
    result: Any, middle: Any, states: Any, gate: Any, up: Any, hidden: Any, rounded: Any, scales: Any,
    first: int, end: int,
) -> None:  # fmt: skip
    """middle = x + attended @ o; states = norm(middle); result = middle + (silu(states @ gate) * (states @ up)) @ down.

    Each weight is its transpose's panels, and has a bias. hidden = silu(states @ gate) * ..., and may be `gate`.
    """
    for top in range(first, end, BLOCK):
        bottom = min(top + BLOCK, end)
        multiply(as_factors(attended, rounded, top, bottom), o_weight, o_bias, middle, top, bottom)
        _add(middle, x, top, bottom)
        rms_norm(middle, norm, eps, states, scales, top, bottom)
        factors = as_factors(states, rounded, top, bottom)
        multiply(factors, gate_weight, gate_bias, gate, top, bottom)
        multiply(factors, up_weight, up_bias, up, top, bottom)
        swiglu(gate, up, hidden, top, bottom)
        multiply(as_factors(hidden, rounded, top, bottom), down_weight, down_bias, result, top, bottom)
        _add(result, middle, top, bottom)


@_kernel
def run_layers(
    x: Any, cos: Any, sin: Any, norms: Any, eps: Any, query: Any, key: Any, value: Any, attended: Any,
    result: Any, middle: Any, states: Any, gate: Any, up: Any, rounded: Any, scales: Any, log_z: Any,
    q_weight: Any, q_bias: Any, k_weight: Any, k_bias: Any, v_weight: Any, v_bias: Any, o_weight: Any, o_bias: Any,
    gate_weight: Any, gate_bias: Any, up_weight: Any, up_bias: Any, down_weight: Any, down_bias: Any,
    heads: int, groups: int, width: int, scale: Any, starts: Any, firsts: Any, runs: Any, layers: int, nothing: Any,
    bounds: Any, meeting: Any, part: int, parts: int,
) -> None:  # fmt: skip
    """The first `layers` layers from x [T, d], and the keys and values of the next, if there is one.

    Weights, biases and norms, [L, 2, d], are those of all layers, one after the other. An even number of layers leaves
    what it gives in `x`, an odd one in `result`. `nothing` is [T, 0]. Each of `parts` threads has the rows between two
    of `bounds`, and some of the heads.
    """
    first, end, items = bounds[part], bounds[part + 1], len(starts) * groups
    for n in range(layers):
        queries_keys_values(
            x, norms[n, 0], eps, cos, sin, q_weight[n], q_bias[n], k_weight[n], k_bias[n], v_weight[n], v_bias[n],
            states, rounded, scales, query, key, value, first, end,
        )  # fmt: skip
        meet(meeting, parts)
        attend(
            query.reshape(-1), key.reshape(-1), value.reshape(-1), heads, groups, width, scale, starts, firsts, runs,
            attended.reshape(-1), log_z, items * part // parts, items * (part + 1) // parts,
        )  # fmt: skip
        meet(meeting, parts)
        feed_forward(
            attended, x, norms[n, 1], eps, o_weight[n], o_bias[n], gate_weight[n], gate_bias[n],
            up_weight[n], up_bias[n], down_weight[n], down_bias[n],
            result, middle, states, gate, up, gate, rounded, scales, first, end,
        )  # fmt: skip
        x, result = result, x
    if layers < len(norms):
        queries_keys_values(
            x, norms[layers, 0], eps, cos, sin, q_weight[layers][:0], q_bias[layers][:0],
            k_weight[layers], k_bias[layers], v_weight[layers], v_bias[layers],
            states, rounded, scales, nothing, key, value, first, end,
        )  # fmt: skip


@_kernel
def _add(into: Any, x: Any, first: int, end: int) -> None:
    for row in range(first, end):
        for j in range(into.shape[1]):
            into[row, j] += x[row, j]
