"""A decoder on a CPU without transformers' modules, masks and caches, for models that `plain_decoder` knows.

Beside the products of a small model these cost ten times as much as the products do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from .fused.rows import HAVE_NUMBA, array
from .plain_decoder import is_plain
from .rope import remembers_lengths
from .written_layer import Kept, Place, Room, WrittenLayer, WrittenNorm


class WrittenDecoder:
    """Reads the model's weights of now: made for one batch of answers."""

    def __init__(self, model: Any, tokens: int) -> None:
        backbone = model.model
        self.model = model
        self._layers = [WrittenLayer(layer) for layer in backbone.layers]
        self._norm = WrittenNorm(backbone.norm)
        self._embedding, self._head = backbone.embed_tokens.weight, model.lm_head
        cos, sin = backbone.rotary_emb(self._embedding[:1], position_ids=torch.arange(tokens)[None])
        self.cos, self.sin = (array(x[0].contiguous()) for x in (cos, sin))  # [tokens, D]

    @classmethod
    def of(cls, model: Any, tokens: int) -> Self | None:
        """If sequences of up to `tokens` are for it to the last detail what they are for the model."""
        if not HAVE_NUMBA or torch.is_autocast_enabled("cpu") or not is_plain(model, "cpu"):
            return None
        window = getattr(model.config, "sliding_window", None)
        return None if remembers_lengths(model.config) or tokens > (window or tokens) else cls(model, tokens)

    def room(self, rows: int) -> Room:
        return Room(self.model.model.layers[0], rows)

    def cache(self, rows: int, tokens: int) -> Tensor:  # [layers, 2, rows, G, tokens, D]
        """For keys and values."""
        attention = self.model.model.layers[0].self_attn
        width = attention.head_dim
        groups = attention.k_proj.out_features // width
        return torch.zeros(len(self._layers), 2, rows, groups, tokens, width, dtype=self._embedding.dtype)

    def read(
        self,
        tokens: Tensor,  # int64[R]
        place: Place,
        kept: Sequence[Kept],  # of each layer; gets the tokens' keys and values
        room: Room,  # for R tokens
    ) -> Tensor:  # [R, d]  the last hidden state, in `room`
        torch.index_select(self._embedding, 0, tokens, out=room.hidden.tensor)
        for layer, mine in zip(self._layers, kept, strict=True):
            layer(room, place, mine)
        self._norm(room.hidden.array, room.normed.array)
        return room.normed.tensor

    def logits(self, hidden: Tensor) -> Tensor:  # [N, d] -> [N, V]
        return F.linear(hidden, self._head.weight, self._head.bias)
