"""Whether a model is what transformers wrote for a family whose layers are known, and nothing beside it.

Adapters, quantised or sharded weights, hooks and modules of another make all have types or entries of their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers.activations import SiLUActivation

from .fused.rotary import FAMILIES
from .fused.rows import DTYPES, PLAIN
from .fused.swiglu import PARTS
from .last_layer import is_watched

GENERAL = {nn.Linear, nn.Embedding, nn.ModuleList, nn.SiLU, SiLUActivation}
LAYER = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
HEAD_NORMS = {"q_norm", "k_norm"}


def is_plain(model: Any, device: str) -> bool:
    """Whether it is a causal model of FAMILIES in evaluation mode on a device, without anything unknown in it."""
    if getattr(getattr(model, "config", None), "model_type", None) not in FAMILIES or model.training:
        return False
    return _parts(model) == {"model", "lm_head"} and _all_plain(model, device) and _has_parts(model.model)


def is_plain_backbone(model: Any, device: str, families: Collection[str] = FAMILIES) -> bool:
    """As `is_plain`, for what lies under a head, and perhaps with fewer families."""
    if getattr(getattr(model, "config", None), "model_type", None) not in families or model.training:
        return False
    return _all_plain(model, device) and _has_parts(model)


def _all_plain(model: Any, device: str) -> bool:
    family, dtype = model.config.model_type, next(model.parameters()).dtype
    source = f"transformers.models.{family}.modeling_{family}"
    return dtype in DTYPES and all(_is_plain_module(module, source, device, dtype) for module in model.modules())


def _is_plain_module(module: nn.Module, source: str, device: str, dtype: torch.dtype) -> bool:
    # A class of this package computes what the class below it does.
    kind = next(c for c in type(module).__mro__ if not c.__module__.startswith(__package__))
    if kind not in GENERAL and kind.__module__ != source:
        return False
    for x in module._parameters.values():
        if x is not None and (x.dtype != dtype or x.device.type != device or type(x) not in PLAIN):
            return False
    return "forward" not in vars(module) and not is_watched(module)


def _has_parts(backbone: Any) -> bool:
    return _parts(backbone) == {"embed_tokens", "layers", "norm", "rotary_emb"} and all(
        _parts(layer) == LAYER
        and _parts(layer.self_attn) in (PROJECTIONS, PROJECTIONS | HEAD_NORMS)
        and _parts(layer.mlp) == PARTS
        and isinstance(layer.mlp.act_fn, (nn.SiLU, SiLUActivation))
        for layer in backbone.layers
    )


def _parts(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
