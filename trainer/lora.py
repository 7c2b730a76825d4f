"""LoRA: trains low-rank changes of the linear layers, and leaves a checkpoint that is a model like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def low_rank(
    model: Any,  # a transformers PreTrainedModel
    config: LoraConfig | None,
    *,
    head: nn.Module | None = None,
    seed: int = 0,
) -> Iterator[None]:
    """Within, only the adapters and the head learn; at the end the adapters are merged into the weights.

    Without a configuration all weights learn. Raises ConfigError for modules that the model does not have.
    """
    if config is None:
        yield
        return
    adapted = _adapt(model, config, _names(model, head), seed)
    if head is not None:
        head.requires_grad_(True)
    yield
    adapted.merge_and_unload()
    forget_packed_weights()  # merging changes weight.data
    model.requires_grad_(True)


def _adapt(model: Any, config: LoraConfig, excluded: Sequence[str], seed: int) -> Any:
    import peft  # takes seconds, and only runs with [lora] need it

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # any number works
        lora_dropout=0.0,
        target_modules=list(config.modules) or "all-linear",
        exclude_modules=list(excluded) or None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(model, settings)
        except ValueError as error:
            raise ConfigError(f"lora.modules: {error}") from error


def _names(model: nn.Module, head: nn.Module | None) -> list[str]:
    return [name for name, module in model.named_modules() if module is head]
