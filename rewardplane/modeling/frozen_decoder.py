"""A decoder whose weights no longer change, over packed rows on a CPU, without transformers' modules.

For a single short pair these, and Python's way through a layer, take three times as long as the numbers do.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from .frozen_layers import Floats, FrozenLayers, Room
from .fused.attention import MOST_KEYS
from .fused.layer import FAMILIES, window_of
from .fused.layer_forward import are_ours
from .fused.rows import VECTOR, array, copied, on_threads, over_rows
from .packing import PackedPairs
from .plain_decoder import is_plain_backbone


class FrozenDecoder:
    def __init__(self, backbone: Any) -> None:
        self._embedding, self._turns = backbone.embed_tokens.weight.detach(), backbone.rotary_emb
        self._like = backbone.layers[0]
        self._layers = FrozenLayers(backbone.layers)
        self._norm = copied(backbone.norm.weight.float()), np.float32(backbone.norm.variance_epsilon)
        windows = [window for layer in backbone.layers if (window := window_of(layer.self_attn)) is not None]
        self._window = min(windows, default=MOST_KEYS)

    @classmethod
    def of(cls, backbone: Any) -> Self | None:
        """If all that is in it is known, and our kernels multiply by it."""
        if not is_plain_backbone(backbone, "cpu", FAMILIES):
            return None
        weights = [module.weight for module in backbone.modules() if isinstance(module, nn.Linear)]
        return cls(backbone) if are_ours(weights) and backbone.layers[0].self_attn.head_dim % VECTOR == 0 else None

    def takes(self, packed: PackedPairs) -> bool:
        """Whether all segments attend in the kernel."""
        runs = packed.runs
        return not runs.alone and runs.most_keys <= self._window and not torch.is_autocast_enabled("cpu")

    def hidden(
        self,
        packed: PackedPairs,
        only: Tensor | None,  # int64[R], distinct; None: all
    ) -> Tensor:  # [T, d]
        """As `forward.packed_hidden`."""
        with on_threads(self._layers.threads_for(packed.num_tokens)):
            return self._hidden(packed, only)

    def _hidden(self, packed: PackedPairs, only: Tensor | None) -> Tensor:
        room = Room(self._like, packed.num_tokens)
        torch.from_numpy(room.x).copy_(self._embedding.index_select(0, packed.input_ids))
        turns = self._turns(torch.from_numpy(room.x)[None], position_ids=packed.position_ids[None])
        cos, sin = (array(x[0].contiguous()) for x in turns)
        if only is None:
            return torch.from_numpy(self._normed(self._layers.all(room, cos, sin, packed.runs)))
        rows = only.numpy()
        states = self._normed(self._layers.at_rows(rows, room, cos, sin, packed.runs))
        room.x[rows] = states
        return torch.from_numpy(room.x)

    def _normed(self, x: Floats) -> Floats:
        from .fused.exact_kernels import rms_norm

        result = np.empty_like(x)
        over_rows(rms_norm, x, *self._norm, result, np.empty(len(x), np.float32))
        return result
