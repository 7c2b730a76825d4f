"""Reads answers through the model's own forward pass, with transformers' cache of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import StaticCache
from transformers.cache_utils import StaticLayer

from .prefill import Prefilled
from .rounded import rounded_dtype


class StaticReader:
    """B answers to be, of a model that `keeps_all`."""

    def __init__(self, model: Any, start: Prefilled, max_answer_tokens: int) -> None:
        rows, width = start.attention_mask.shape
        device = start.logits.device
        self.logits, self._model = start.logits, model
        self._cache = _filled(model, width + max_answer_tokens, start.cache.layers, rows)
        self._visible = torch.zeros(rows, 1, 1, width + max_answer_tokens, dtype=torch.bool, device=device)
        self._visible[:, 0, 0, :width] = start.attention_mask.bool()
        self._positions = start.positions + 1
        self._place = torch.full((1,), width, device=device)

    def read(self, tokens: Tensor) -> Tensor:
        """Appends a token to each answer. int64[B] -> [B, V], the logits for the next."""
        self._visible.index_fill_(3, self._place, True)
        output = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._visible,
            position_ids=self._positions,
            past_key_values=self._cache,
        )
        self._positions.add_(1)
        self._place.add_(1)
        return cast(Tensor, output.logits[:, -1])

    def keep(self, going: Tensor) -> None:
        """Goes on with the answers at these places alone. int64[R], ascending."""
        layer: Any
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[going], layer.values[going]
        self._visible, self._positions = self._visible[going], self._positions[going]


def keeps_all(model: Any) -> bool:
    """Whether each layer keeps the keys and values of all positions, and nothing else."""
    return all(type(layer) is StaticLayer for layer in StaticCache(config=model.config, max_cache_len=1).layers)


class _Layer(StaticLayer):  # type: ignore[no-untyped-call]
    """Keys and values in the type that attention rounds them to: under autocast some come in float32, and some not."""

    def update(self, key_states: Tensor, value_states: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        dtype = rounded_dtype(value_states)
        return super().update(key_states.to(dtype), value_states.to(dtype), *arguments, **named)


def _filled(model: Any, length: int, layers: Sequence[Any], rows: int) -> Any:
    cache: Any = StaticCache(config=model.config, max_cache_len=length)
    cache.layers = [_Layer(length) for _ in cache.layers]
    for target, source in zip(cache.layers, layers, strict=True):
        answers = rows // source.keys.shape[0]
        target.update(source.keys.repeat_interleave(answers, 0), source.values.repeat_interleave(answers, 0))
        source.keys = source.values = None  # given back before the next layer is copied
    return cache
