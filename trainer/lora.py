"""LoRA: trains low-rank changes of the linear layers, and leaves a checkpoint that is a model like any other."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from rewardplane.modeling.cpu_linear import forget_packed_weights

from .config import ConfigError, Section


class LoraConfig(Section):
    """W + (alpha / rank) B A with B = 0 at the start. LoRA (arXiv:2106.09685) section 4.1."""

    rank: PositiveInt = 16
    """Rows of A and columns of B."""
    alpha: PositiveFloat = 32.0
    """Scale of the change."""
    modules: tuple[str, ...] = ()
    """Names of the linear layers to change, such as "q_proj"; none are all but the head."""


def adapt(
    model: Any,  # a transformers PreTrainedModel
    config: LoraConfig | None,
    *,
    head: nn.Module | None = None,
    seed: int = 0,
) -> None:
    """From now on only the adapters and the head learn, until `merge`. Without a configuration all weights learn.

    Raises ConfigError for modules that the model does not have.
    """
    if config is None:
        return
    import peft  # takes seconds, and only runs with [lora] need it

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number works
        lora_dropout=0.0,
        target_modules=list(config.modules) or "all-linear",
        exclude_modules=[name for name, module in model.named_modules() if module is head] or None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            peft.get_peft_model(model, settings)  # changes the model itself
        except ValueError as error:
            raise ConfigError(f"lora.modules: {error}") from error
    if head is not None:
        head.requires_grad_(True)


def merge(model: Any) -> Any:
    """Adds the adapters to the weights that they change and removes them; gives the same model."""
    if not hasattr(model, "peft_config"):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    del model.peft_config
    forget_packed_weights()  # merging changes weight.data
    return model.requires_grad_(True)
