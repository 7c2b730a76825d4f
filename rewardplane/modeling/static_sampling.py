"""Sampling where nothing moves in memory: on a GPU a step is captured once as a CUDA graph, and then replayed.

A step of a small batch is many short kernels, and Python hands them over more slowly than they run. Nothing of a
replayed step waits for the host: token, place and what is done stay on the device. Every LOOK_EVERY steps the host
looks which answers have ended; once they are half of the batch, it goes on with the others alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .upload import upload

log = logging.getLogger(__name__)

LOOK_EVERY = 16

Choose = Callable[[Tensor, Tensor], Tensor]
"""float[B, V] logits, float[B] in [0, 1) -> int64[B]."""


class Reader(Protocol):
    """Answers to be, as far as they have been read."""

    @property
    def logits(self) -> Tensor:
        """For the first token of each. [B, V]"""

    def read(self, tokens: Tensor) -> Tensor:
        """Appends a token to each answer. int64[B] -> [B, V], the logits for the next. Waits for nothing."""

    def keep(self, going: Tensor) -> None:
        """Goes on with the answers at these places alone. int64[R], ascending."""


def grow(
    reader: Reader,
    uniforms: NDArray[np.float32],  # [B, max_answer_tokens]
    stops: Tensor,  # int64[S]
    choose: Choose,
) -> NDArray[np.int64]:  # [B, max_answer_tokens]; what comes after an answer's first stop token means nothing
    # A copy that waited would wait for the questions to be read; step and capture come meanwhile.
    steps = _Steps(reader, upload(torch.from_numpy(uniforms), stops.device), stops, choose)
    replay = None
    for step in range(1, uniforms.shape[1]):
        if step % LOOK_EVERY == 0:
            left = steps.left()
            if not left:
                break
            if 2 * left <= len(steps.done):
                steps.go_on()
                replay = None
        if replay is None:
            steps.take()  # also makes what a capture may not: handles, workspaces, kernels
            replay = _captured(steps.take) if stops.device.type == "cuda" else steps.take
        else:
            replay()
    return steps.all_tokens()


class _Steps:
    """The state of the answers that are growing, in tensors that stay where they are."""

    def __init__(self, reader: Reader, uniforms: Tensor, stops: Tensor, choose: Choose) -> None:
        self._reader, self._uniforms, self._stops, self._choose = reader, uniforms, stops, choose
        device, rows = uniforms.device, len(uniforms)
        self._found = torch.zeros(uniforms.shape, dtype=torch.int64, device=device)
        self._rows = torch.arange(rows, device=device)
        self._tokens = torch.zeros_like(self._found)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._last = torch.zeros(rows, dtype=torch.int64, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)
        self._append(reader.logits)

    def _append(self, logits: Tensor) -> None:
        """Draws a token for each answer."""
        drawn = self._choose(logits, self._uniforms.index_select(1, self._step)[:, 0])
        self._last.copy_(drawn)
        self._tokens.index_copy_(1, self._step, drawn[:, None])
        self.done.logical_or_((drawn[:, None] == self._stops).any(1))
        self._step.add_(1)

    def take(self) -> None:
        """Reads the last token of each answer and draws the next."""
        self._append(self._reader.read(self._last))

    def left(self) -> int:
        """How many answers have not ended."""
        return int((~self.done).sum())

    def go_on(self) -> None:
        """With the answers alone that have not ended."""
        self._found[self._rows] = self._tokens
        going = (~self.done).nonzero()[:, 0]
        self._reader.keep(going)
        self._rows, self._uniforms, self._tokens = (x[going] for x in (self._rows, self._uniforms, self._tokens))
        self._last, self.done = self._last[going], self.done[going]

    def all_tokens(self) -> NDArray[np.int64]:
        self._found[self._rows] = self._tokens
        return self._found.cpu().numpy()


class _Captures(threading.local):
    """The memory of a thread's graphs: a new one takes that of the last, which is not replayed any more."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self.last: torch.cuda.CUDAGraph | None = None


@cache
def _captures() -> _Captures:
    return _Captures()


def _captured(take: Callable[[], None]) -> Callable[[], None]:
    """Not by torch.cuda.graph, which gives all cached memory back first; other threads may use the GPU meanwhile.

    A capture runs nothing. A step that does what none may do, some model's, goes on uncaptured.
    """
    captures, graph = _captures(), torch.cuda.CUDAGraph()
    captures.stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(captures.stream):
            graph.capture_begin(captures.last.pool() if captures.last else None, capture_error_mode="thread_local")
            try:
                take()
            finally:
                graph.capture_end()
    except RuntimeError as error:
        log.warning("a step of decoding cannot be a CUDA graph, and takes longer: %s", error)
        return take
    torch.cuda.current_stream().wait_stream(captures.stream)
    captures.last = graph
    return graph.replay
