"""Sampling: tokens a second at several batch sizes, and the share of what memory bandwidth allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gpu_parts.ceilings import Ceilings
from gpu_parts.clock import seconds
from gpu_parts.shapes import SHAPES, Shape, as_served, random_model
from result_file import Bar
from transformers import GenerationConfig

from rewardplane.modeling.prefill import prefill
from rewardplane.modeling.sampling import Sampling, choose, sample_answers, uniforms_of
from rewardplane.modeling.static_reader import StaticReader
from rewardplane.modeling.static_sampling import grow

Records = Iterator[dict[str, object] | Bar]
QUESTION_TOKENS = 128
Sample = Callable[[Any, list[np.ndarray], int], object]


def sampling(
    name: str, batches: Sequence[int], answer_tokens: int, device: str, ceilings: Ceilings, *, modules: bool = True
) -> Records:
    """No stop token, so that every answer has all its tokens."""
    shape = SHAPES[name]
    model = as_served(random_model(shape, causal=True, device=device, dtype=torch.bfloat16))
    for batch in batches:
        for engine, sample in (("ours", _ours), ("modules", _modules))[: 1 + modules]:
            yield from _measure(engine, sample, model, shape, batch, answer_tokens, device, ceilings)


def paged(name: str, batch: int, answer_tokens: int, device: str, ceilings: Ceilings) -> Records:
    """transformers' continuous batching with paged attention."""
    shape = SHAPES[name]
    model = random_model(shape, causal=True, device=device, dtype=torch.bfloat16, packed=False)
    yield from _measure("paged", _paged, model, shape, batch, answer_tokens, device, ceilings)


def _measure(
    engine: str, sample: Sample, model: Any, shape: Shape, batch: int, answer_tokens: int, device: str, limits: Ceilings
) -> Records:
    """Of all tokens, and of those after the first: how long they take beyond what one token takes."""
    rng = np.random.default_rng(0)
    questions = [rng.integers(2, shape.vocabulary, QUESTION_TOKENS).astype(np.int32) for _ in range(batch)]
    all_s, first_s = (
        seconds(lambda tokens=tokens: sample(model, questions, tokens), device, rounds=2, warm_up=1)
        for tokens in (answer_tokens, 1)
    )
    share = _floor_s(model, shape, batch, answer_tokens, limits) / max(all_s - first_s, 1e-9)
    yield {
        "case": f"sampling, {shape.name}, batch {batch}, {engine}", "tokens_per_s": batch * answer_tokens / all_s,
        "ms_a_step": 1e3 * (all_s - first_s) / (answer_tokens - 1), "share_of_bandwidth_bound": share,
    }  # fmt: skip
    if batch == 256 and engine == "ours":
        yield Bar(f"sampling, {shape.name}, batch 256: bandwidth bound / time", share, "at least 0.5")


def _ours(model: Any, questions: list[np.ndarray], tokens: int) -> object:
    return sample_answers(model, questions, [], Sampling(tokens))


@torch.inference_mode()
def _modules(model: Any, questions: list[np.ndarray], tokens: int) -> object:
    """As a GPU samples from models that are not known: transformers' modules, and a cache of fixed size."""
    reader = StaticReader(model, prefill(model, questions, 1), tokens)
    stops = torch.empty(0, dtype=torch.int64, device=model.device)
    uniforms = uniforms_of(Sampling(tokens), len(questions))
    return grow(reader, uniforms, stops, lambda logits, drawn: choose(logits, 1.0, drawn))


def _paged(model: Any, questions: list[np.ndarray], tokens: int) -> object:
    """Its draws are its own: it takes no seed for an answer."""
    wanted = GenerationConfig(max_new_tokens=tokens, do_sample=True, eos_token_id=-1, pad_token_id=0)
    return model.generate_batch([question.tolist() for question in questions], generation_config=wanted)


def _floor_s(model: Any, shape: Shape, batch: int, answer_tokens: int, limits: Ceilings) -> float:
    """Each step after the first token reads all weights once, and the keys and values of all tokens so far."""
    weights = 2.0 * sum(parameter.numel() for parameter in model.parameters())
    a_token = 2.0 * 2 * shape.layers * shape.kv_heads * (shape.hidden // shape.heads)
    cached = sum(batch * (QUESTION_TOKENS + step) * a_token for step in range(1, answer_tokens))
    return ((answer_tokens - 1) * weights + cached) / limits.bytes_per_s
