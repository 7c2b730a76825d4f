"""The last layer computes only what is read: a score needs one state a pair, log-probs those of the answers.

Keys and values are needed everywhere, but queries, the output projection and the feed-forward part, five sixths
of a layer's work, only where a state is read. The modules keep their names; hooks select their rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn

from .layers import layers_of

ATTENTION = ("self_attn", "attention", "attn")
FEED_FORWARD = ("mlp",)
TOKENWISE = ("q_proj", "o_proj", "out_proj", "dense", "c_proj")
"""Parts of an attention that turn each token's row into one row. Those that also give keys are not among them."""

_read: ContextVar[tuple[Tensor, int] | None] = ContextVar("rewardplane_last_layer_rows", default=None)


@contextmanager
def only_rows(
    rows: Tensor | None,  # int64[R], distinct; None is all
    num_tokens: int,  # T, of the whole row
) -> Iterator[None]:
    """What a last layer gives at other rows means nothing (but is finite)."""
    token = _read.set(None if rows is None else (rows, num_tokens))
    try:
        yield
    finally:
        _read.reset(token)


def rows_read() -> Tensor | None:  # int64[R]
    """What `only_rows` says."""
    read = _read.get()
    return None if read is None else read[0]


def prune_last_layer(model: Any) -> None:  # a transformers decoder
    """Makes the last layer heed `only_rows`; a part that is called by another name computes every row."""
    layers = layers_of(model.base_model)
    if layers is None:
        return
    for name, part in layers[-1].named_children():
        if name in FEED_FORWARD:
            _select_rows(part)
        elif name in ATTENTION:
            for inner in TOKENWISE:
                if isinstance(projection := getattr(part, inner, None), nn.Module):
                    _select_rows(projection)


def _select_rows(module: nn.Module) -> None:
    module.register_forward_pre_hook(_before)
    module.register_forward_hook(_after)


def _before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    if (read := _read.get()) is None:
        return None
    return (inputs[0].index_select(1, read[0]), *inputs[1:])


def _after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if (read := _read.get()) is None:
        return None
    rows, num_tokens = read
    return output.new_zeros(1, num_tokens, output.shape[2]).index_copy(1, rows, output)


HOOKS = (_before, _after)
"""All that this module registers: they do nothing without `only_rows`."""


def is_watched(module: nn.Module) -> bool:
    """Whether anybody else wants to see what goes in or out of it."""
    return any(hook not in HOOKS for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()))
