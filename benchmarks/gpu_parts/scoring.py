"""Scoring: tokens a second and the share of the matrix rate, K = 9 with and without sharing, bf16 against float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gpu_parts.ceilings import Ceilings
from gpu_parts.clock import in_turns, seconds
from gpu_parts.pairs import mixed, ranked, spans
from gpu_parts.shapes import SHAPES, Shape, as_served, random_model
from result_file import Bar

from rewardplane.modeling.models import packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

Records = Iterator[dict[str, object] | Bar]
PADDED_BATCH = 32


def throughput(names: Sequence[str], row_tokens: int, device: str, ceilings: Ceilings) -> Records:
    """One packed row of mixed pairs: packing, upload, forward and reading of the scores.

    Model FLOPs are those of every layer over every token, though the last one computes what is read alone. Then the
    same through transformers' modules.
    """
    for name in names:
        shape = SHAPES[name]
        model = random_model(shape, causal=False, device=device, dtype=torch.bfloat16)
        pairs = mixed(row_tokens, shape.vocabulary)
        yield from _throughput(f"{name}, transformers' modules", model, shape, pairs, device, ceilings)
        yield from _throughput(name, as_served(model), shape, pairs, device, ceilings)
        del model


def _throughput(
    case: str, model: Any, shape: Shape, pairs: list[TokenPair], device: str, ceilings: Ceilings
) -> Records:
    packed = pack(pairs)
    took = seconds(lambda: score(model, pairs, device), device)
    share = shape.forward_flops(spans(packed)) / took / ceilings.flops_per_s
    yield {
        "case": f"scoring, {case}", "tokens": packed.num_tokens,
        "tokens_per_s": packed.num_tokens / took, "share_of_matrix_rate": share,
    }  # fmt: skip
    if case in ("1B", "7B"):
        yield Bar(f"scoring, {case}: model FLOPs / measured bf16 rate", share, "at least 0.6")


@torch.inference_mode()
def score(model: Any, pairs: list[TokenPair], device: str) -> np.ndarray:
    scores: np.ndarray = packed_scores(model, pack(pairs).to(device)).float().cpu().numpy()
    return scores


def sharing(name: str, questions: int, device: str, lengths: tuple[int, int] = (1024, 128)) -> Records:
    """K = 9 answers to a question, against a padded batch of transformers in the order of arrival."""
    shape = SHAPES[name]
    ours = as_served(random_model(shape, causal=False, device=device, dtype=torch.bfloat16))
    pairs = ranked(questions, 9, *lengths, shape.vocabulary)
    mixed_order = np.random.default_rng(0).permutation(len(pairs))
    arriving = [pairs[i] for i in mixed_order]
    took = in_turns(
        {
            "shared": lambda: score(ours, pairs, device),
            "packed, not shared": lambda: _apart(ours, pairs, device),
            "padded": lambda: _padded(ours, shape, arriving, device),
        },
        device,
        rounds=3,
    )
    for kind, wall in took.items():
        yield {"case": f"K = 9, {name}, {kind}", "pairs_per_s": len(pairs) / wall, "tokens": lengths[0] + lengths[1]}
    yield Bar("K = 9: pairs/s, shared / padded in arrival order", took["padded"] / took["shared"], "at least 4")


@torch.inference_mode()
def _apart(model: Any, pairs: list[TokenPair], device: str) -> list[np.ndarray]:
    """A row for each answer's place in the ranking: no question is twice in a row."""
    return [score(model, pairs[place::9], device) for place in range(9)]


@torch.inference_mode()
def _padded(model: Any, shape: Shape, pairs: list[TokenPair], device: str) -> list[torch.Tensor]:
    model.set_attn_implementation("sdpa")
    try:
        return [
            _padded_batch(model, pairs[start:end], device)
            for start, end in pairwise([*range(0, len(pairs), PADDED_BATCH), len(pairs)])
        ]
    finally:
        model.set_attn_implementation("rewardplane")


def _padded_batch(model: Any, pairs: list[TokenPair], device: str) -> torch.Tensor:
    rows = [np.concatenate([pair.question_ids, pair.answer_ids]) for pair in pairs]
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.from_numpy(row.astype(np.int64))
        mask[number, : len(row)] = 1
    states = model.base_model(
        input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
    ).last_hidden_state
    last = states[torch.arange(len(rows)), mask.sum(1) - 1]
    scores: torch.Tensor = model.score(last).float().cpu()
    return scores


def precision(name: str, questions: int, device: str) -> Records:
    """How far bf16 moves scores, and the order of K = 9 answers."""
    shape = SHAPES[name]
    precise, coarse = (
        random_model(shape, causal=False, device=device, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    )
    coarse.load_state_dict(precise.state_dict())  # rotary frequencies, which are not in it, stay float32
    pairs = ranked(questions, 9, 128, 64, shape.vocabulary)
    exact, rounded = (score(as_served(model), pairs, device) for model in (precise, coarse))
    moved = float(np.abs(rounded - exact).mean() / exact.std())
    agreement = float(np.mean([
        _kendall(a, b) for a, b in zip(exact.reshape(-1, 9), rounded.reshape(-1, 9), strict=True)
    ]))  # fmt: skip
    yield {"case": f"bf16 against float32, {name}", "mean_error_in_sd": moved, "kendall_tau": agreement}
    yield Bar("bf16: mean error of a score, standard deviations", moved, "at most 0.02")
    yield Bar("bf16: Kendall's tau of 9 answers to float32's", agreement, "at least 0.98")


def _kendall(a: np.ndarray, b: np.ndarray) -> float:
    first, second = np.triu_indices(len(a), 1)
    return float(np.mean(np.sign(a[first] - a[second]) * np.sign(b[first] - b[second])))
