"""Two tiles of a product in turn: one is read on a stream of its own, while the next is multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..tf32 import is_rounded, products


class Tiles:
    """For products of `x`'s rows, of at most `size` numbers."""

    def __init__(self, x: Tensor, size: int) -> None:
        self._rounded = is_rounded(x)
        self._tiles = x.new_empty(2, size).unbind()
        self._number = 0
        self._reading = torch.cuda.Stream() if x.is_cuda else None
        self._read: list[torch.cuda.Event | None] = [None, None]

    @contextmanager
    def multiplied(self, x: Tensor, weight: Tensor) -> Iterator[Tensor]:  # [R, K], [N, K] -> [R, N]
        """The product; what is launched inside reads it, and nothing else may be."""
        self._number = number = 1 - self._number
        rows, outputs = len(x), len(weight)
        product = self._tiles[number][: rows * outputs].view(rows, outputs)
        if (read := self._read[number]) is not None:
            torch.cuda.current_stream().wait_event(read)
        with products(x.device, rounded=self._rounded):
            torch.mm(x, weight.T, out=product)
        if self._reading is None:
            yield product
            return
        self._reading.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._reading):
            yield product
            self._read[number] = self._reading.record_event()

    def wait(self) -> None:
        """What comes afterwards comes after the last reading."""
        if self._reading is not None:
            torch.cuda.current_stream().wait_stream(self._reading)
