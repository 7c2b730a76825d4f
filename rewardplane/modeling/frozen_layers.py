"""Decoder layers whose weights no longer change, on a CPU: all of them are one call, on one thread or on several.

No other thread's Python stands between two layers, and none has to be woken for a part of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .fused.attention import Runs, attend_arrays
from .fused.product import NOT_ROUNDED, TALL, bias_of, over_products, panels_of
from .fused.rows import array, copied, empty, even_bounds, threads, together

Floats = NDArray[np.float32]


class Room:
    """What the layers write for T tokens, one after the other."""

    def __init__(self, layer: Any, tokens: int) -> None:  # of a transformers decoder
        attention, feed_forward = layer.self_attn, layer.mlp
        states = tokens, attention.q_proj.in_features
        queries, keys = (tokens, attention.q_proj.out_features), (tokens, attention.k_proj.out_features)
        between = tokens, feed_forward.gate_proj.out_features
        self.x, self.result, self.states, self.middle = (empty(states) for _ in range(4))
        self.query, self.key, self.value = (empty(shape) for shape in (queries, keys, keys))
        self.attended = empty(queries)
        self.attended.fill(0)  # rows that are no segment's stay so
        self.gate, self.up = (empty(between) for _ in range(2))
        self.scales = np.empty(tokens, np.float32)
        widest = max(states[1], queries[1], between[1])
        in_pairs = attention.q_proj.weight.dtype == torch.bfloat16
        self.rounded = np.empty((tokens, widest // 2), np.int32) if in_pairs else NOT_ROUNDED
        self.log_z = np.empty(tokens * queries[1] // attention.head_dim, np.float32)


WORTH_A_THREAD = 20_000_000
"""Multiplications of all layers: 0.3 ms."""


class FrozenLayers:
    """All layers of a Llama, Mistral or Qwen2."""

    def __init__(self, layers: Sequence[Any]) -> None:
        first = layers[0]
        self._count = len(layers)
        self._width, self._scaling = first.self_attn.head_dim, np.float32(first.self_attn.scaling)
        self._eps = np.float32(first.input_layernorm.variance_epsilon)
        self._norms = np.stack([
            [copied(norm.weight.float()) for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
            for layer in layers
        ])  # fmt: skip
        # Weight and bias of each product, those of all layers one after the other.
        self._attention = _weights([layer.self_attn for layer in layers], ("q_proj", "k_proj", "v_proj", "o_proj"))
        self._feed = _weights([layer.mlp for layer in layers], ("gate_proj", "up_proj", "down_proj"))
        self._weights_of_all: int = self._count * sum(weight.numel() for weight in first.parameters())

    def threads_for(self, tokens: int) -> int:
        """How many are worth what it costs to start them."""
        return max(1, min(threads(), tokens * self._weights_of_all // WORTH_A_THREAD))

    def __call__(self, room: Room, cos: Floats, sin: Floats, runs: Runs, count: int) -> None:  # [T, D], [T, D]
        """The first `count` layers, from `room.x` to `room.x`. Then keys and values of the next, if there is one."""
        from .fused.layer_kernels import run_layers

        of_heads = room.query.shape[1] // self._width, room.key.shape[1] // self._width, self._width, self._scaling
        bounds = even_bounds(len(room.x), threads(), TALL)
        together(
            run_layers,
            room.x, cos, sin, self._norms, self._eps, room.query, room.key, room.value, room.attended,
            room.result, room.middle, room.states, room.gate, room.up, room.rounded, room.scales, room.log_z,
            *self._attention, *self._feed,
            *of_heads, runs.starts, runs.firsts, runs.runs, count, empty((len(room.x), 0)),
            np.array(bounds), np.zeros(2, np.int64), parts=len(bounds) - 1,
        )  # fmt: skip
        if count % 2:
            room.x, room.result = room.result, room.x

    def all(self, room: Room, cos: Floats, sin: Floats, runs: Runs) -> Floats:  # [T, d]
        self(room, cos, sin, runs, self._count)
        return room.x

    def at_rows(self, rows: NDArray[np.int64], room: Room, cos: Floats, sin: Floats, runs: Runs) -> Floats:  # [R, d]
        """What the last layer gives at some rows."""
        from .fused.layer_kernels import feed_forward, queries_keys_values

        last = self._count - 1
        self(room, cos, sin, runs, last)
        weights, (first, second) = [part[last] for part in self._attention + self._feed], self._norms[last]
        x, cos, sin, queries = room.x[rows], cos[rows], sin[rows], empty((len(rows), room.query.shape[1]))
        nothing, no_weight = empty((len(rows), 0)), [weights[0][:0], weights[1][:0]]
        over_products(
            queries_keys_values, x, first, self._eps, cos, sin, *weights[:2], *no_weight, *no_weight,
            room.states, room.rounded, room.scales, queries, nothing, nothing, weights=weights[:1],
        )  # fmt: skip
        room.query[rows] = queries
        arrays = room.query, room.key, room.value, room.attended, room.log_z
        attend_arrays(*arrays, runs.at_rows(rows), self._width, float(self._scaling))
        over_products(
            feed_forward, room.attended[rows], x, second, self._eps, *weights[6:],
            room.result, room.middle, room.states, room.gate, room.up, room.gate, room.rounded, room.scales,
            weights=weights[6::2],
        )  # fmt: skip
        return room.result[: len(rows)]


def _weights(modules: Sequence[nn.Module], names: Sequence[str]) -> list[Any]:
    parts: list[Any] = []
    for name in names:
        products: list[Any] = [getattr(module, name) for module in modules]
        parts += [
            array(torch.stack([panels_of(product.weight) for product in products])),
            np.stack([bias_of(product.bias) for product in products]),
        ]
    return parts
