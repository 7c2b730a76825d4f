"""What a run would do, without doing it: `rewardplane train ppo --plan`. Reads no weights and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardplane.modeling.checkpoint import Manifest
from rewardplane.modeling.device_memory import free_memory
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import Loaded, stop_token_ids

from ..models import check_model_directory, check_signed, choose_device
from .config import PpoRunConfig
from .inputs import Files, Inputs
from .judge_plan import ask_judges
from .keeper import Keeper
from .memory import (
    MOMENTS_BYTES,
    WEIGHT_BYTES,
    Memory,
    does_not_fit,
    memory_of,
    on_meta,
    parameters_of,
    value_on_meta,
)


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
    models = {"policy": policy.model} | ({} if config.ppo.advantage == "rloo" else {"value": value_on_meta(config)})
    sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    parameters = parameters_of(config, models)
    lines = [
        *((name, f"{type(models[name]).__name__}, {_count(size)} parameters") for name, size in sizes.items()),
        ("questions", f"{len(files.prompts)}, and {len(files.held_out)} held out; the longest has {longest} tokens"),
        *_update_lines(config, longest_pair),
        *_memory_lines(config, memory_of(config, policy.model.config, parameters, longest_pair)),
        *judges,
        *_output_lines(config, sizes["policy"], parameters),
    ]
    return Plan(tuple(lines), tuple(problems))


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
    if sampling.ahead:
        yield "ahead", "an update's answers are sampled before the epochs of the one before: the judges read meanwhile"
    texts = f" and {ppo.ptx_texts} pretraining texts" if ppo.ptx_coef else ""
    micro_batches = -(-tokens // (ppo.minibatches * ppo.micro_batch_tokens))
    yield "step", f"at most {micro_batches} micro-batches of {ppo.micro_batch_tokens:,} tokens{texts}"
    yield "run", f"{config.updates} updates: {config.updates * answers:,} answers, {config.updates * tokens:,} tokens"


def _memory_lines(config: PpoRunConfig, memory: Memory) -> Iterator[tuple[str, str]]:
    again = config.gradient_checkpointing is True
    step = memory.step_again if again else memory.step
    otherwise = f" ({_bytes(memory.step_again)} where layers are computed again)" if not again else ""
    yield (
        "memory",
        f"{_bytes(memory.held)} of weights, gradients and moments; at most {_bytes(memory.cache)} of cache "
        f"in sampling; about {_bytes(step)} in a step{otherwise}",
    )
    if config.gradient_checkpointing == "auto":
        free = free_memory(choose_device(config.device))
        again = does_not_fit(memory, free)
        yield "layers", f"{'computed again' if again else 'kept'}, as {_bytes(free)} are free here"


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
    model = on_meta(AutoModelForCausalLM, path)
    encoder = PairEncoder(AutoTokenizer.from_pretrained(path), stop_token_ids(path, model), model.config.vocab_size)
    manifest = Manifest(path.name, None, 0, encoder.fingerprint, {})
    return Loaded(model, encoder, manifest, int(model.config.max_position_embeddings))


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e5 else f"{number:,}"


def _bytes(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"
