"""Runs a Hugging Face decoder over a packed row."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from .frozen import frozen
from .last_layer import only_rows
from .packed_row import packed_row
from .packing import PackedPairs


def packed_hidden(
    backbone: nn.Module,  # the model under the head: `model.base_model` of a decoder
    packed: PackedPairs,
    only: Tensor | None = None,  # int64[R], distinct  rows that will be read; None: all
) -> Tensor:  # [T, d]  at rows that are not in `only` something finite
    """Final hidden state of every token of the row, as if each pair had been run alone. Differentiable."""
    if (decoder := frozen(backbone)) is not None and decoder.takes(packed):
        return decoder.hidden(packed, only)
    with packed_row(), only_rows(only, packed.num_tokens):
        output = backbone(
            input_ids=packed.input_ids[None],
            position_ids=packed.position_ids[None],
            use_cache=False,
            packed_pairs=packed,
        )
    return cast(Tensor, output.last_hidden_state.squeeze(0))
