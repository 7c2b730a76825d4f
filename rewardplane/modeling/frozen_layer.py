"""A decoder layer whose weights no longer change, on a CPU: three kernels, and nothing to look up between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .fused.attention import Runs, attend_arrays
from .fused.layer_forward import arrays_of
from .fused.product import TALL, WORK
from .fused.rows import copied, over_rows

Floats = NDArray[np.float32]


class Room:
    """What the layers write for T tokens, one after the other."""

    def __init__(self, layer: Any, tokens: int) -> None:  # of a transformers decoder
        attention, feed_forward = layer.self_attn, layer.mlp
        states = tokens, attention.q_proj.in_features
        queries, keys = (tokens, attention.q_proj.out_features), (tokens, attention.k_proj.out_features)
        between = tokens, feed_forward.gate_proj.out_features
        self.x, self.result, self.states, self.middle = (np.empty(states, np.float32) for _ in range(4))
        self.query, self.key, self.value = (np.empty(shape, np.float32) for shape in (queries, keys, keys))
        self.attended = np.zeros(queries, np.float32)  # rows that are no segment's stay so
        self.gate, self.up = (np.empty(between, np.float32) for _ in range(2))
        self.scales = np.empty(tokens, np.float32)
        self.log_z = np.empty(tokens * queries[1] // attention.head_dim, np.float32)


class FrozenLayer:
    """Of Llama, Mistral or Qwen2."""

    def __init__(self, layer: Any) -> None:
        attention, feed_forward = layer.self_attn, layer.mlp
        first, second = layer.input_layernorm, layer.post_attention_layernorm
        self._width, self._scaling = attention.head_dim, float(attention.scaling)
        self._norms = [(copied(norm.weight), np.float32(norm.variance_epsilon)) for norm in (first, second)]
        self._query = _weights(attention.q_proj)
        self._keys_values = _weights(attention.k_proj, attention.v_proj)
        self._feed = _weights(attention.o_proj, feed_forward.gate_proj, feed_forward.up_proj, feed_forward.down_proj)

    def __call__(self, room: Room, cos: Floats, sin: Floats, runs: Runs) -> None:  # [T, D], [T, D]
        """Reads `room.x`, and writes it."""
        self._project(room.x, cos, sin, room, self._query, self._keys_values, (room.query, room.key, room.value))
        self._attend(room, runs)
        self._feed_forward(room.x, room.attended, room)
        room.x, room.result = room.result, room.x

    def at_rows(self, rows: NDArray[np.int64], room: Room, cos: Floats, sin: Floats, runs: Runs) -> Floats:  # [R, d]
        """What the layer gives at some rows."""
        x, nothing = room.x, np.empty((len(room.x), 0), np.float32)
        no_weight = self._query[0][:0], self._query[1][:0]
        self._project(x, cos, sin, room, no_weight, self._keys_values, (nothing, room.key, room.value))
        x, cos, sin, query = x[rows], cos[rows], sin[rows], np.empty((len(rows), room.query.shape[1]), np.float32)
        nothing = nothing[: len(rows)]
        self._project(x, cos, sin, room, self._query, no_weight * 2, (query, nothing, nothing))
        room.query[rows] = query
        self._attend(room, runs.at_rows(rows))
        self._feed_forward(x, room.attended[rows], room)
        return room.result[: len(rows)]

    def _project(
        self, x: Floats, cos: Floats, sin: Floats, room: Room, of_query: Any, of_keys_values: Any, results: Any
    ) -> None:
        from .fused.layer_kernels import queries_keys_values

        weights = (*of_query, *of_keys_values)
        _over_rows(
            queries_keys_values, x, *self._norms[0], cos, sin, *weights, room.states, room.scales, *results,
            weights=weights[::2],
        )  # fmt: skip

    def _attend(self, room: Room, runs: Runs) -> None:
        arrays = room.query, room.key, room.value, room.attended, room.log_z
        attend_arrays(*arrays, runs, self._width, self._scaling)

    def _feed_forward(self, x: Floats, attended: Floats, room: Room) -> None:
        from .fused.layer_kernels import feed_forward

        _over_rows(
            feed_forward, attended, x, *self._norms[1], *self._feed,
            room.result, room.middle, room.states, room.gate, room.up, room.gate, room.scales,
            weights=self._feed[::2],
        )  # fmt: skip


def _over_rows(kernel: Callable[..., None], rows: Floats, *arguments: Any, weights: Sequence[Any]) -> None:
    products = len(rows) * sum(weight.size for weight in weights)
    over_rows(kernel, rows, *arguments, block=TALL, numbers=products // WORK)


def _weights(*linear: nn.Linear) -> list[Any]:
    return arrays_of([part for module in linear for part in (module.weight, module.bias)])
