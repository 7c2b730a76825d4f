"""The blocks of a transformers model."""

from __future__ import annotations

from torch import nn


def layers_of(model: nn.Module) -> nn.ModuleList | None:
    """The layers of a decoder or an encoder, first to last: its first list of modules."""
    return next((module for module in model.modules() if isinstance(module, nn.ModuleList)), None)
