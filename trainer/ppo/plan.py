"""What a run would do, without doing it: `rewardplane train ppo --plan`. Reads no weights and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rewardplane.modeling.checkpoint import Manifest
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.logprobs import chunk_bytes_on
from rewardplane.modeling.models import Loaded, stop_token_ids
from rewardplane.modeling.padded import final_linear

from ..lora import adapt
from ..models import check_model_directory, check_signed
from .config import PpoRunConfig
from .inputs import Files, Inputs
from .judge_plan import ask_judges
from .keeper import Keeper

WEIGHT_BYTES = 4
GRADIENT_BYTES = 4
MOMENTS_BYTES = 8
"""Of a float32 parameter; gradient and moments of those that learn."""


@dataclass(frozen=True)
class Plan:
    """Lines to print, each under a word."""

    lines: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    """What would stop the run."""


def make_plan(config: PpoRunConfig) -> Plan:
    """Raises what the run itself would raise for settings and data that cannot be used."""
    check_signed(config.trusted_keys, policy_path=config.policy.path, value_path=config.value.path)
    files = Files(config)
    policy = _policy_without_weights(config.policy.path)
    inputs = Inputs(files, policy, config)
    longest = max(len(q.ids) for q in (*inputs.questions.items, *inputs.held_out))
    longest_pair = longest + config.sampling.max_answer_tokens
    judges, problems = ask_judges(config, policy.encoder, longest_pair)
    models = {"policy": policy.model} | ({} if config.ppo.advantage == "rloo" else {"value": _value_model(config)})
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    parameters = _parameters(config, models)
    lines = [
        *((name, f"{type(models[name]).__name__}, {_count(size)} parameters") for name, size in sizes.items()),
        ("questions", f"{len(files.prompts)}, and {len(files.held_out)} held out; the longest has {longest} tokens"),
        *_update_lines(config, longest_pair),
        *_memory_lines(config, policy.model, parameters, longest_pair),
        *judges,
        *_output_lines(config, sizes["policy"], parameters),
    ]
    return Plan(tuple(lines), tuple(problems))


def _parameters(config: PpoRunConfig, models: dict[str, Any]) -> tuple[int, int]:
    """How many parameters the run holds, and how many of them learn. Puts adapters into the models."""
    adapt(models["policy"], config.policy.lora)
    if "value" in models:
        adapt(models["value"], config.value.lora, head=final_linear(models["value"]))
    every = [parameter for model in models.values() for parameter in model.parameters()]
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def _update_lines(config: PpoRunConfig, longest_pair: int) -> Iterator[tuple[str, str]]:
    sampling, ppo = config.sampling, config.ppo
    answers = sampling.questions_per_update * sampling.answers_per_question
    tokens = sampling.questions_per_update * (
        longest_pair + (sampling.answers_per_question - 1) * sampling.max_answer_tokens
    )
    yield (
        "update",
        f"{answers} answers of at most {sampling.max_answer_tokens} tokens to {sampling.questions_per_update} "
        f"questions: at most {tokens:,} tokens, each question once; {ppo.epochs} epochs of {ppo.minibatches} steps",
    )
    texts = f" and {ppo.ptx_texts} pretraining texts" if ppo.ptx_coef else ""
    micro_batches = -(-tokens // (ppo.minibatches * ppo.micro_batch_tokens))
    yield "step", f"at most {micro_batches} micro-batches of {ppo.micro_batch_tokens:,} tokens{texts}"
    yield "run", f"{config.updates} updates: {config.updates * answers:,} answers, {config.updates * tokens:,} tokens"


def _memory_lines(
    config: PpoRunConfig, model: Any, parameters: tuple[int, int], longest_pair: int
) -> Iterator[tuple[str, str]]:
    every, learning = parameters
    shape = model.config
    tokens = max(config.ppo.micro_batch_tokens, longest_pair * config.sampling.answers_per_question)
    width = 16 * shape.hidden_size + 4 * (getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size)
    logits = min(chunk_bytes_on(config.device), 4 * tokens * shape.vocab_size)
    rows = min(config.sampling.batch_questions, config.sampling.questions_per_update)
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    depth = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    cache = 8 * shape.num_hidden_layers * heads * depth * longest_pair * rows * config.sampling.answers_per_question
    held = WEIGHT_BYTES * every + (GRADIENT_BYTES + MOMENTS_BYTES) * learning
    yield (
        "memory",
        f"{_bytes(held)} of weights, gradients and moments; at most {_bytes(cache)} of cache "
        f"in sampling; about {_bytes(4 * tokens * width * shape.num_hidden_layers + 2 * logits)} in a step",
    )


def _output_lines(config: PpoRunConfig, policy: int, parameters: tuple[int, int]) -> Iterator[tuple[str, str]]:
    output = config.output
    state = Keeper(output, config.policy.name).newest_state()
    begins = f"goes on after update {int(state)}" if state else "begins anew"
    yield "output", f"{output.directory}{f' and {output.url}' if output.url else ''}; the run {begins}"
    if output.save_every:
        size = _bytes(WEIGHT_BYTES * parameters[0] + MOMENTS_BYTES * parameters[1])
        yield "states", f"{size} every {output.save_every} updates; {output.keep_states} are kept"
    else:
        yield "states", "none (output.save_every = 0): a run that is stopped begins anew"
    often = f"every {output.publish_every} updates and at the end" if output.publish_every else "at the end"
    best = f", and the best by {output.keep_best}" if output.keep_best else ""
    kept = f"; the newest {output.keep_published} are kept" if output.keep_published else ""
    yield "policies", f"{_bytes(WEIGHT_BYTES * policy)} {often}{best}{kept}"


def _policy_without_weights(path: Path) -> Loaded:
    check_model_directory("policy.path", path)
    model = _on_meta(AutoModelForCausalLM, path)
    encoder = PairEncoder(AutoTokenizer.from_pretrained(path), stop_token_ids(path, model), model.config.vocab_size)
    manifest = Manifest(path.name, None, 0, encoder.fingerprint, {})
    return Loaded(model, encoder, manifest, int(model.config.max_position_embeddings))


def _value_model(config: PpoRunConfig) -> Any:
    if config.value.path is None:
        return _on_meta(AutoModelForCausalLM, config.policy.path).base_model
    check_model_directory("value.path", config.value.path)
    return _on_meta(AutoModelForSequenceClassification, config.value.path)


def _on_meta(auto: Any, path: Path) -> Any:
    with torch.device("meta"):
        return auto.from_config(AutoConfig.from_pretrained(path))


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e5 else f"{number:,}"


def _bytes(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"
