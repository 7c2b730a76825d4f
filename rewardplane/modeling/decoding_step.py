"""A step of decoding on a CPU: the keys of a question are kept once for its answers, and ended answers cost nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .fused.rows import array
from .prefill import Prefilled
from .written_decoder import WrittenDecoder
from .written_layer import Kept, Place

FIRST_ROOM = 32
"""Tokens of each answer that the cache has room for at first; it is doubled when it is full."""


class WrittenStep:
    """The answers that are still growing."""

    def __init__(self, decoder: WrittenDecoder, start: Prefilled) -> None:
        self._decoder = decoder
        layers: Any = start.cache.layers
        self._asked = [(_seen(layer.keys), _seen(layer.values)) for layer in layers]
        rows, self._width = start.attention_mask.shape
        questions = len(layers[0].keys)
        answers = rows // questions
        self._positions = start.positions[:, 0].numpy()
        self._starts = self._width - 1 - self._positions[::answers]
        self._questions = np.arange(questions).repeat(answers)
        self._slots = np.arange(rows)
        self._length = 0
        self._own = decoder.cache(rows, 0)
        self._kept: list[Kept] = []
        self._room = decoder.room(rows)

    def keep(self, going: Tensor) -> None:
        """Goes on with the answers at these places of the batch alone. int64[R]."""
        places = going.numpy()
        self._slots, self._questions = self._slots[places], self._questions[places]
        self._positions = self._positions[places]
        self._room = self._decoder.room(len(places))

    def read(self, tokens: Tensor) -> Tensor:
        """Appends a token to each answer. int64[R] -> [R, V], the logits for the next."""
        if self._length == self._own.shape[4]:
            self._make_room()
        self._positions = self._positions + 1
        place = Place(
            questions=self._questions,
            starts=self._starts,
            ends=np.full_like(self._slots, self._width),
            slots=self._slots,
            places=np.full_like(self._slots, self._length),
            length=self._length + 1,
            cos=self._decoder.cos[self._positions],
            sin=self._decoder.sin[self._positions],
        )
        self._length += 1
        return self._decoder.logits(self._decoder.read(tokens, place, self._kept, self._room))

    def _make_room(self) -> None:
        own = self._decoder.cache(len(self._slots), max(FIRST_ROOM, 2 * self._length))
        own[:, :, :, :, : self._length] = self._own[:, :, torch.from_numpy(self._slots)]
        self._own, self._slots = own, np.arange(len(self._slots))
        self._kept = [Kept(*asked, *mine) for asked, mine in zip(self._asked, array(own), strict=True)]


def _seen(x: Tensor) -> Any:
    return array(x.contiguous())
