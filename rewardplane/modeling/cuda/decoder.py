"""A decoder on a GPU without transformers' modules, for models that `plain_decoder` knows.

Module by module a layer is thirty kernels, most of which pass over memory, and a hundred calls that Python makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..attention import attend_packed
from ..fused.layer import window_of
from ..packing import PackedPairs
from ..plain_decoder import is_plain_backbone
from ..rope import remembers_lengths
from .layers import FEW_ROWS, CudaLayer
from .norm import add_and_norm
from .rotary import Places, turn

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of a layer's tokens, float32[T, D / 2] each."""
Attend = Callable[[int, Tensor, Angles | None], Tensor]
"""The layer's number, and queries, keys and values as a product gives them [T, (H + 2 * G) * D] -> [T, H * D]."""
Cache = Sequence[tuple[Tensor, Tensor]]
"""Keys and values of each layer, [S, G, L, D]."""


class CudaDecoder:
    """Reads the weights that the model has when it is made."""

    def __init__(self, backbone: Any, dtype: torch.dtype, *, owns: bool) -> None:
        self.dtype = dtype
        self.embedding = backbone.embed_tokens.weight.detach()
        self.layers = [CudaLayer(layer, dtype, owns=owns) for layer in backbone.layers]
        self._windows = [window_of(layer.self_attn) for layer in backbone.layers]
        self._norm = backbone.norm.weight.detach(), backbone.norm.variance_epsilon
        self._rotary, self._remembers_lengths = backbone.rotary_emb, remembers_lengths(backbone.config)

    @classmethod
    def of(cls, backbone: nn.Module, dtype: torch.dtype, *, owns: bool = False, device: str = "cuda") -> Self | None:
        """If all that is in it is known. `owns`: its parameters become parts of what this decoder reads."""
        return cls(backbone, dtype, owns=owns) if is_plain_backbone(backbone, device) else None

    def takes(self, packed: PackedPairs) -> bool:
        return True

    def sees_all(self, tokens: int) -> bool:
        """Whether each layer attends to all of a sequence of that length, by angles that do not depend on it."""
        return not self._remembers_lengths and all(tokens <= (w or tokens) for w in self._windows)

    def hidden(
        self,
        packed: PackedPairs,
        only: Tensor | None,  # int64[R], distinct; None: all
    ) -> Tensor:  # [T, d]
        """As `forward.packed_hidden`."""
        states = self.run(packed.input_ids, packed.position_ids, self.attention_of(packed), only)
        if only is None:
            return states
        # Rows that nobody reads are something finite.
        return states.new_zeros(packed.num_tokens, states.shape[1]).index_copy_(0, only, states)

    def attention_of(
        self,
        packed: PackedPairs,
        cache: Cache | None = None,  # gets keys and values
        places: Places | None = None,  # of the row's tokens in the cache
    ) -> Attend:
        def attend(number: int, rows: Tensor, angles: Angles | None) -> Tensor:
            layer = self.layers[number]
            heads = layer.heads
            turn(rows, heads, angles, layer.norms, cache[number] if cache else None, places)
            parts = rows.view(1, len(rows), heads.all, heads.width).split([heads.queries, heads.keys, heads.keys], 2)
            query, key, value = (part.transpose(1, 2) for part in parts)
            return attend_packed(query, key, value, packed, layer.scaling, self._windows[number])[0].flatten(1)

        return attend

    def run(
        self,
        tokens: Tensor,  # int64[T]
        positions: Tensor,  # int64[T]
        attend: Attend,
        only: Tensor | None = None,  # int64[R]
    ) -> Tensor:  # [T, d], or [R, d]  final hidden states
        # Rounded after every sum, states of bfloat16 move scores by a fifth more. A step of decoding waits for memory.
        kept = self.dtype if len(tokens) <= FEW_ROWS else torch.float32
        states, angles = self.embedding.index_select(0, tokens).to(kept), self._angles(positions)
        more: Tensor | None = None
        for number, layer in enumerate(self.layers):
            attended = attend(number, layer.project(states, more), angles if layer.turns else None)
            if only is not None and number + 1 == len(self.layers):
                states, attended = states.index_select(0, only), attended.index_select(0, only)
            more = layer.feed_forward(states, attended)
        return add_and_norm(states, more, *self._norm, self.dtype)

    def _angles(self, positions: Tensor) -> Angles:  # int64[T]
        precise = torch.empty((), device=positions.device)
        cos, sin = self._rotary(precise, position_ids=positions[None])
        half = cos.shape[-1] // 2
        return cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()
