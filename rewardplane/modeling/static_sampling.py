"""Sampling with a cache of fixed size: on a GPU a step is captured once as a CUDA graph, and then replayed.

A step of a small batch is hundreds of short kernels, and Python hands them over more slowly than they run. Nothing of a
replayed step waits for the host: token, place and what is done stay on the device. Answers that have ended are
computed on, until all have; every LOOK_EVERY steps the host looks whether they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import StaticCache
from transformers.cache_utils import StaticLayer

from .prefill import Prefilled
from .rounded import rounded_dtype

LOOK_EVERY = 16

Choose = Callable[[Tensor, Tensor], Tensor]
"""float[B, V] logits, float[B] in [0, 1) -> int64[B]."""


class UnsupportedCache(ValueError):
    """The model keeps something else than the keys and values of all positions."""


def grow(
    model: Any,
    start: Prefilled,
    uniforms: NDArray[np.float32],  # [B, max_answer_tokens]
    stops: Tensor,  # int64[S]
    choose: Choose,
) -> list[list[int]]:  # [B][max_answer_tokens or up to where all have ended]
    """Answers and what may come after their stop tokens. Raises UnsupportedCache."""
    steps = _Steps(model, start, torch.from_numpy(uniforms).to(start.logits.device), stops, choose)
    steps.append(start.logits)
    replay = None
    for step in range(1, uniforms.shape[1]):
        if step % LOOK_EVERY == 0 and bool(steps.done.all()):
            return steps.tokens[:, :step].tolist()
        if step == 1 or start.logits.device.type != "cuda":
            steps.take()  # the first one also makes what a capture may not: handles and workspaces
            continue
        replay = replay or _captured(steps.take)
        replay()
    return steps.tokens.tolist()


class _Steps:
    """The state of all answers, in tensors that stay where they are."""

    def __init__(self, model: Any, start: Prefilled, uniforms: Tensor, stops: Tensor, choose: Choose) -> None:
        rows, width = start.attention_mask.shape
        length = width + uniforms.shape[1]
        self._model, self._uniforms, self._stops, self._choose = model, uniforms, stops, choose
        self._cache = _filled(static_cache(model, length), start.cache.layers, rows)
        self._visible = torch.zeros(rows, 1, 1, length, dtype=torch.bool, device=uniforms.device)
        self._visible[:, 0, 0, :width] = start.attention_mask.bool()
        self._positions = start.positions + 1
        self._place = torch.full((1,), width, device=uniforms.device)
        self._step = torch.zeros(1, dtype=torch.int64, device=uniforms.device)
        self._last = torch.zeros(rows, 1, dtype=torch.int64, device=uniforms.device)
        self.tokens = torch.zeros(uniforms.shape, dtype=torch.int64, device=uniforms.device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=uniforms.device)

    def append(self, logits: Tensor) -> None:
        """Draws a token for each answer."""
        drawn = self._choose(logits, self._uniforms.index_select(1, self._step)[:, 0])[:, None]
        self._last.copy_(drawn)
        self.tokens.index_copy_(1, self._step, drawn)
        self.done.logical_or_((drawn == self._stops).any(1))
        self._step.add_(1)

    def take(self) -> None:
        """Reads the last token of each answer and draws the next."""
        self._visible.index_fill_(3, self._place, True)
        output = self._model(
            input_ids=self._last,
            attention_mask=self._visible,
            position_ids=self._positions,
            past_key_values=self._cache,
        )
        self._positions.add_(1)
        self._place.add_(1)
        self.append(output.logits[:, -1])


def static_cache(model: Any, length: int) -> StaticCache:
    """Raises UnsupportedCache."""
    cache = StaticCache(config=model.config, max_cache_len=length)
    for number, layer in enumerate(cache.layers):
        if type(layer) is not StaticLayer:
            raise UnsupportedCache(
                f"layer {number} of {type(model).__name__} keeps a {type(layer).__name__}, and a static cache is for "
                "layers that attend to all positions: sample without one"
            )
    cache.layers = [_Layer(length) for _ in cache.layers]
    return cache


class _Layer(StaticLayer):  # type: ignore[no-untyped-call]
    """Keys and values in the type that attention rounds them to: under autocast some come in float32, and some not."""

    def update(self, key_states: Tensor, value_states: Tensor, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        dtype = rounded_dtype(value_states)
        return super().update(key_states.to(dtype), value_states.to(dtype), *arguments, **named)


def _filled(cache: Any, layers: Sequence[Any], rows: int) -> Any:
    for target, source in zip(cache.layers, layers, strict=True):
        answers = rows // source.keys.shape[0]
        target.update(source.keys.repeat_interleave(answers, 0), source.values.repeat_interleave(answers, 0))
        source.keys = source.values = None  # given back before the next layer is copied
    return cache


def _captured(take: Callable[[], None]) -> Callable[[], None]:
    """Not by torch.cuda.graph, which gives all cached memory back first; other threads may use the GPU meanwhile."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="thread_local")
        take()
        graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph.replay
