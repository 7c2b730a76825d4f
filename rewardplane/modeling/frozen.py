"""Decoders whose weights no longer change, as a server's are: without transformers' modules, where they are known."""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .cuda.use import HAVE_TRITON
from .frozen_decoder import FrozenDecoder
from .last_layer import is_watched
from .packing import PackedPairs


class Frozen(Protocol):
    def takes(self, packed: PackedPairs) -> bool:
        """Whether it runs this row as the model would."""

    def hidden(self, packed: PackedPairs, only: Tensor | None) -> Tensor:
        """As `forward.packed_hidden`."""


_frozen: WeakKeyDictionary[nn.Module, Frozen] = WeakKeyDictionary()


def freeze(backbone: Any) -> None:
    """From now on its rows run without its modules wherever they can: its weights must not change any more."""
    decoder: Frozen | None = None
    if backbone.device.type == "cpu":
        decoder = FrozenDecoder.of(backbone)
    elif HAVE_TRITON:
        from .cuda.decoder import CudaDecoder

        decoder = CudaDecoder.of(backbone, backbone.dtype, owns=True)
    if decoder is not None:
        _frozen[backbone] = decoder


def frozen(backbone: nn.Module) -> Frozen | None:
    """None where a gradient is wanted, or somebody wants to see what goes into the backbone or comes out of it."""
    return None if torch.is_grad_enabled() or is_watched(backbone) else _frozen.get(backbone)
