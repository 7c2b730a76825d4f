"""Sampling: tokens a second at several batch sizes, and the share of what memory bandwidth allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gpu_parts.ceilings import Ceilings
from gpu_parts.clock import seconds
from gpu_parts.shapes import SHAPES, Shape, random_model
from result_file import Bar

from rewardplane.modeling.sampling import Sampling, sample_answers

Rows = list[dict[str, object]]
QUESTION_TOKENS = 128


def sampling(
    name: str, batches: Sequence[int], answer_tokens: int, device: str, ceilings: Ceilings
) -> tuple[Rows, list[Bar]]:
    """No stop token, so that every answer has all its tokens."""
    shape = SHAPES[name]
    model = random_model(shape, causal=True, device=device, dtype=torch.bfloat16)
    rows: Rows = []
    bars: list[Bar] = []
    for batch in batches:
        took = seconds(lambda batch=batch: _sample(model, shape, batch, answer_tokens), device, rounds=3, warm_up=1)
        floor = _floor_s(model, shape, batch, answer_tokens, ceilings)
        rows.append({
            "case": f"sampling, {name}, batch {batch}", "tokens_per_s": batch * answer_tokens / took,
            "share_of_bandwidth_bound": floor / took,
        })  # fmt: skip
        if batch == 256:
            bars.append(Bar(f"sampling, {name}, batch 256: bandwidth bound / time", floor / took, "at least 0.5"))
    return rows, bars


def _sample(model: Any, shape: Shape, batch: int, answer_tokens: int) -> object:
    rng = np.random.default_rng(0)
    questions = [rng.integers(2, shape.vocabulary, QUESTION_TOKENS).astype(np.int32) for _ in range(batch)]
    return sample_answers(model, questions, [], Sampling(answer_tokens))


def _floor_s(model: Any, shape: Shape, batch: int, answer_tokens: int, ceilings: Ceilings) -> float:
    """Each step reads all weights once and the keys and values of all tokens so far."""
    weights = 2.0 * sum(parameter.numel() for parameter in model.parameters())
    a_token = 2.0 * 2 * shape.layers * shape.kv_heads * (shape.hidden // shape.heads)
    cached = sum(batch * (QUESTION_TOKENS + step) * a_token for step in range(answer_tokens))
    return (answer_tokens * weights + cached) / ceilings.bytes_per_s
