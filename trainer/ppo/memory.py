"""How much memory a run takes, from its settings and the shapes of its models; what is computed again to fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardplane.modeling.device_memory import free_memory
from rewardplane.modeling.logprobs import chunk_bytes_on
from rewardplane.modeling.padded import final_linear

from ..lora import adapt
from ..models import check_model_directory, choose_device
from ..processes import ALONE, Processes
from .config import PpoRunConfig

log = logging.getLogger(__name__)

WEIGHT_BYTES = 4
GRADIENT_BYTES = 4
MOMENTS_BYTES = 8
"""Of a float32 parameter; gradient and moments of those that learn."""
SHARE = 0.9
"""Of the free memory that a run may count on: allocators leave holes."""


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    held: float
    """Weights, gradients and moments."""
    cache: float
    """Of sampling, at most."""
    step: float
    """What a forward keeps for its backward, about, and the logits of a chunk."""
    step_again: float
    """The same where layers are computed again."""


def memory_of(config: PpoRunConfig, shape: Any, parameters: tuple[int, int], longest_pair: int) -> Memory:
    """`shape` is the policy's configuration; `parameters` are how many the run holds, and how many of them learn."""
    every, learning = parameters
    tokens = max(config.ppo.micro_batch_tokens, longest_pair * config.sampling.answers_per_question)
    width = 16 * shape.hidden_size + 4 * (getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size)
    logits = 2 * min(chunk_bytes_on(choose_device(config.device)), 4 * tokens * shape.vocab_size)
    rows = min(config.sampling.batch_questions, config.sampling.questions_per_update)
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    depth = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    answers = rows * config.sampling.answers_per_question
    return Memory(
        held=WEIGHT_BYTES * every + (GRADIENT_BYTES + MOMENTS_BYTES) * learning,
        cache=8 * shape.num_hidden_layers * heads * depth * longest_pair * answers,
        step=4 * tokens * width * shape.num_hidden_layers + logits,
        step_again=4 * tokens * (width + shape.hidden_size * shape.num_hidden_layers) + logits,
    )


def computes_again(config: PpoRunConfig, processes: Processes = ALONE) -> bool:
    """Whether layers are computed again in the backward: as the settings say, or "auto", where it would not fit else.

    To be asked before the models are loaded.
    """
    if config.gradient_checkpointing != "auto":
        return config.gradient_checkpointing
    policy = on_meta(AutoModelForCausalLM, config.policy.path)
    models = {"policy": policy} | ({} if config.ppo.advantage == "rloo" else {"value": value_on_meta(config)})
    longest_pair = config.data.max_question_tokens + config.sampling.max_answer_tokens
    memory = memory_of(config, policy.config, parameters_of(config, models), longest_pair)
    free = free_memory(choose_device(config.device))
    again = does_not_fit(memory, free, processes.count)
    log.info("layers are %s in the backward: %.1f GiB are free", "computed again" if again else "kept", free / 2**30)
    return again


def does_not_fit(memory: Memory, free: float, processes: int = 1) -> bool:
    """Whether what a step keeps is too much beside what each process holds."""
    return memory.held / processes + memory.step > SHARE * free


def parameters_of(config: PpoRunConfig, models: dict[str, Any]) -> tuple[int, int]:
    """How many parameters the run holds, and how many of them learn. Puts adapters into the models."""
    adapt(models["policy"], config.policy.lora)
    if "value" in models:
        adapt(models["value"], config.value.lora, head=final_linear(models["value"]))
    every = [parameter for model in models.values() for parameter in model.parameters()]
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def value_on_meta(config: PpoRunConfig) -> Any:
    """The value model without weights. Raises ConfigError."""
    if config.value.path is None:
        return on_meta(AutoModelForCausalLM, config.policy.path).base_model
    check_model_directory("value.path", config.value.path)
    return on_meta(AutoModelForSequenceClassification, config.value.path)


def on_meta(auto: Any, path: Path) -> Any:
    """A model without weights."""
    with torch.device("meta"):
        return auto.from_config(AutoConfig.from_pretrained(path))
