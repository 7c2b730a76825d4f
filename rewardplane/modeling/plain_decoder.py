"""Whether a model is what transformers wrote for a family whose layers are known, and nothing beside it.

Adapters, quantised or sharded weights, hooks and modules of another make all have types or entries of their own.
"""

from __future__ import annotations

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


def is_plain(model: Any) -> bool:
    """Whether it is a causal model of one of FAMILIES in evaluation mode on the CPU, without anything unknown in it."""
    family = getattr(getattr(model, "config", None), "model_type", None)
    if family not in FAMILIES or model.training or not _has_parts(model):
        return False
    source, dtype = f"transformers.models.{family}.modeling_{family}", model.lm_head.weight.dtype
    return dtype in DTYPES and all(_is_plain_module(module, source, dtype) for module in model.modules())


def _is_plain_module(module: nn.Module, source: str, dtype: torch.dtype) -> bool:
    # A class of this package computes what the class below it does.
    kind = next(c for c in type(module).__mro__ if not c.__module__.startswith(__package__))
    if kind not in GENERAL and kind.__module__ != source:
        return False
    for x in module._parameters.values():
        if x is not None and (x.dtype != dtype or x.device.type != "cpu" or type(x) not in PLAIN):
            return False
    return "forward" not in vars(module) and not is_watched(module)


def _has_parts(model: Any) -> bool:
    if _parts(model) != {"model", "lm_head"} or _parts(model.model) != {"embed_tokens", "layers", "norm", "rotary_emb"}:
        return False
    return all(
        _parts(layer) == LAYER
        and _parts(layer.self_attn) in (PROJECTIONS, PROJECTIONS | HEAD_NORMS)
        and _parts(layer.mlp) == PARTS
        and isinstance(layer.mlp.act_fn, (nn.SiLU, SiLUActivation))
        for layer in model.model.layers
    )


def _parts(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
