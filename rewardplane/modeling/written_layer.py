"""A decoder layer on a CPU, written out: one call for each product, a kernel or two between them.

Weights are read where they are; those of norms are copied, as what numpy has seen of a weight may not be freed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .fused.rows import array, over_rows


class Numbers:
    """[R, width], and its memory as kernels see it."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        self.tensor = torch.empty(rows, width, dtype=dtype)
        self.array = array(self.tensor)


class Room:
    """What the layers write for R tokens, one after the other."""

    def __init__(self, layer: Any, rows: int) -> None:  # of a transformers decoder of FAMILIES
        attention, feed_forward = layer.self_attn, layer.mlp

        def numbers(width: int) -> Numbers:
            return Numbers(rows, width, attention.q_proj.weight.dtype)

        self.hidden = numbers(attention.q_proj.in_features)
        self.normed = numbers(attention.q_proj.in_features)
        self.query = numbers(attention.q_proj.out_features)
        self.key = numbers(attention.k_proj.out_features)
        self.value = numbers(attention.v_proj.out_features)
        self.attended = numbers(attention.q_proj.out_features)
        self.gate = numbers(feed_forward.gate_proj.out_features)
        self.up = numbers(feed_forward.up_proj.out_features)


@dataclass(frozen=True)
class Place:
    """Where R tokens stand: in the cache, and in their sequences."""

    questions: NDArray[np.int64]  # [R]  that they are part of, or that their answers are to
    starts: NDArray[np.int64]  # [n]  the first real token of each question
    ends: NDArray[np.int64]  # [R]  up to where they see the question
    slots: NDArray[np.int64]  # [R]  their own rows
    places: NDArray[np.int64]  # [R]  their places in these
    length: int  # of their own rows, as far as they see them
    cos: Any  # [R, D]
    sin: Any  # [R, D]


@dataclass(frozen=True)
class Kept:
    """A layer's keys and values, as kernels see them."""

    question_keys: Any  # [n, G, T, D]
    question_values: Any  # [n, G, T, D]
    own_keys: Any  # [B, G, A, D]  gets the tokens' keys
    own_values: Any  # [B, G, A, D]


class WrittenNorm:
    def __init__(self, norm: Any) -> None:
        self._weight, self._eps = array(norm.weight.clone()), np.float32(norm.variance_epsilon)

    def __call__(self, x: Any, result: Any) -> None:  # [N, D] both
        from .fused.kernels import rms_norm

        over_rows(rms_norm, x, self._weight, self._eps, result, np.empty(len(x), np.float32))


class WrittenLayer:
    def __init__(self, layer: Any) -> None:  # of a transformers decoder of FAMILIES
        attention, feed_forward = layer.self_attn, layer.mlp
        self._before, self._between = WrittenNorm(layer.input_layernorm), WrittenNorm(layer.post_attention_layernorm)
        self._query, self._key, self._value = (
            _written(part) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        self._head_norms = [
            WrittenNorm(norm) for name in ("q_norm", "k_norm") if (norm := getattr(attention, name, None)) is not None
        ]
        self._turns = bool(getattr(attention, "use_rope", True))
        self._scaling = np.float32(attention.scaling)
        self._out, self._down = _added(attention.o_proj), _added(feed_forward.down_proj)
        self._gate, self._up = _written(feed_forward.gate_proj), _written(feed_forward.up_proj)

    def __call__(self, room: Room, place: Place, kept: Kept) -> None:
        """Reads and writes `room.hidden`, and keeps the tokens' keys and values."""
        from .fused.kernels import swiglu_in_place

        normed = room.normed.tensor
        self._before(room.hidden.array, room.normed.array)
        self._query(normed, room.query.tensor)
        self._key(normed, room.key.tensor)
        self._value(normed, room.value.tensor)
        for norm, x in zip(self._head_norms, (room.query.array, room.key.array), strict=False):
            heads = x.reshape(-1, kept.own_keys.shape[-1])
            norm(heads, heads)
        self._attend(room, place, kept)
        self._out(room.attended.tensor, room.hidden.tensor)
        self._between(room.hidden.array, room.normed.array)
        self._gate(normed, room.gate.tensor)
        self._up(normed, room.up.tensor)
        over_rows(swiglu_in_place, room.gate.array, room.up.array)
        self._down(room.gate.tensor, room.hidden.tensor)

    def _attend(self, room: Room, place: Place, kept: Kept) -> None:
        from .fused.one_query import attend_one_query, keep_keys

        query = room.query.array
        over_rows(
            keep_keys, query, room.key.array, room.value.array, place.cos, place.sin, self._turns,
            place.slots, place.places, kept.own_keys, kept.own_values,
        )  # fmt: skip
        over_rows(
            attend_one_query, query, self._scaling,
            place.questions, place.starts, place.ends, kept.question_keys, kept.question_values,
            place.slots, place.length, kept.own_keys, kept.own_values, room.attended.array,
            block=1, numbers=2 * query.size * (kept.question_keys.shape[2] + place.length),
        )  # fmt: skip


def _written(linear: nn.Linear) -> Callable[[Tensor, Tensor], Tensor]:
    """y = linear(x)"""
    weight, bias = linear.weight.detach().t(), cast(Tensor | None, linear.bias)
    if bias is None:
        return lambda x, y: torch.mm(x, weight, out=y)
    return lambda x, y: torch.addmm(bias, x, weight, out=y)


def _added(linear: nn.Linear) -> Callable[[Tensor, Tensor], Tensor]:
    """y += linear(x)"""
    weight, bias = linear.weight.detach().t(), cast(Tensor | None, linear.bias)
    if bias is None:
        return lambda x, y: y.addmm_(x, weight)
    return lambda x, y: y.addmm_(x, weight).add_(bias)
