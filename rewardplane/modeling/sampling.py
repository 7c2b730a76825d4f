"""Samples answers from a decoder with a KV cache.

The random numbers of an answer depend on the seed and the answer's number alone, so an answer does not
depend on what else is in the batch, on batch order, or on how much was sampled before (exact resume needs
no state).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from .decoding_threads import decoding_threads
from .static_sampling import Prefilled, grow

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    max_answer_tokens: int
    temperature: float = 1.0
    """Logits are divided by it; 0 is greedy."""
    seed: int = 0
    first_answer: int = 0
    """Number of the first answer: whoever samples a part of the answers draws the same as who samples all."""


@torch.inference_mode()
def sample_answers(
    model: Any,  # a transformers decoder with its unembedding
    questions: Sequence[Ids],  # int32[Q] each
    stop_token_ids: Sequence[int],
    sampling: Sampling,
    *,
    answers_per_question: int = 1,
    static_cache: bool = False,
) -> list[Ids]:  # question by question, answers_per_question each; a stop token ends an answer and is part of it
    """Samples answers until a stop token or `max_answer_tokens`.

    `static_cache` draws the same answers (up to rounding) with a cache of fixed size, on a GPU as a CUDA graph.
    """
    device = next(model.parameters()).device
    uniforms = _uniforms(sampling, len(questions) * answers_per_question)
    stops = torch.tensor(list(stop_token_ids), dtype=torch.int64, device=device)
    state = _Batch.prefill(model, questions, answers_per_question, device)
    with decoding_threads(model, len(uniforms)):
        if static_cache:
            prefilled = Prefilled(state.cache.layers, state.attention_mask, state.positions, state.logits)
            rows = grow(model, prefilled, uniforms, stops, lambda z, u: _choose(z, sampling.temperature, u))
            return [_until_stop(row, stop_token_ids) for row in rows]
        state.cache.batch_repeat_interleave(answers_per_question)
        return _grown(model, state, uniforms, stops, sampling)


def _grown(model: Any, state: _Batch, uniforms: NDArray[np.float32], stops: Tensor, sampling: Sampling) -> list[Ids]:
    answers: list[list[int]] = [[] for _ in range(len(uniforms))]
    for step in range(sampling.max_answer_tokens):
        drawn = torch.from_numpy(uniforms[state.rows, step]).to(stops.device)
        tokens = _choose(state.logits, sampling.temperature, drawn)
        for row, token in zip(state.rows, tokens.tolist(), strict=True):
            answers[row].append(token)
        going = (~torch.isin(tokens, stops)).nonzero()[:, 0]
        if not len(going) or step + 1 == sampling.max_answer_tokens:
            break
        state.advance(model, tokens, going)
    return [np.asarray(answer, np.int32) for answer in answers]


def _until_stop(tokens: list[int], stops: Sequence[int]) -> Ids:
    end = next((i + 1 for i, token in enumerate(tokens) if token in stops), len(tokens))
    return np.asarray(tokens[:end], np.int32)


def _uniforms(sampling: Sampling, n: int) -> NDArray[np.float32]:
    """float32[n, max_answer_tokens] in [0, 1): row i depends on the seed and its number alone."""
    seed = sampling.seed & (2**64 - 1)
    keys = [np.array([seed, sampling.first_answer + i], np.uint64) for i in range(n)]
    rows = [
        np.random.Generator(np.random.Philox(key=key)).random(sampling.max_answer_tokens, np.float32) for key in keys
    ]
    return np.stack(rows) if rows else np.empty((0, sampling.max_answer_tokens), np.float32)


def _choose(logits: Tensor, temperature: float, uniforms: Tensor) -> Tensor:
    """Draws by inverse CDF. float[B, V], float[B] in [0, 1) -> int64[B]."""
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    cumulative = scaled.softmax(-1).cumsum(-1)
    # The first entry above the threshold: a token of probability 0 never is.
    threshold = uniforms[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    return chosen.clamp_(max=logits.shape[-1] - 1)


@dataclass
class _Batch:
    """The answers that are still growing."""

    rows: list[int]  # numbers of the answers
    cache: DynamicCache  # of the questions until the answers part
    attention_mask: Tensor  # int64[B, T]  1 on real tokens; questions are left-padded
    positions: Tensor  # int64[B, 1]  of the last token
    logits: Tensor  # [B, V]  for the next token

    @classmethod
    def prefill(cls, model: Any, questions: Sequence[Ids], answers: int, device: torch.device) -> _Batch:
        width = max(len(q) for q in questions)
        ids = torch.zeros(len(questions), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, question in enumerate(questions):
            ids[row, width - len(question) :] = torch.from_numpy(question.astype(np.int64))
            mask[row, width - len(question) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        # GPT-2 and others count positions from the row's start unless told otherwise.
        positions = (mask.cumsum(-1) - 1).clamp_(min=0)
        cache = DynamicCache(config=model.config)
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        )
        return cls(
            rows=list(range(len(questions) * answers)),
            cache=cache,
            attention_mask=mask.repeat_interleave(answers, 0),
            positions=positions[:, -1:].repeat_interleave(answers, 0),
            logits=output.logits[:, -1].repeat_interleave(answers, 0),
        )

    def advance(self, model: Any, tokens: Tensor, going: Tensor) -> None:
        """Appends one token to the answers at places `going` of the batch and drops the others."""
        if len(going) < len(self.rows):
            self.rows = [self.rows[i] for i in going.tolist()]
            self.cache.batch_select_indices(going)
            self.attention_mask, self.positions = self.attention_mask[going], self.positions[going]
            tokens = tokens[going]
        self.attention_mask = torch.cat([self.attention_mask, self.attention_mask.new_ones(len(tokens), 1)], 1)
        self.positions = self.positions + 1
        output = model(
            input_ids=tokens[:, None],
            attention_mask=self.attention_mask,
            position_ids=self.positions,
            past_key_values=self.cache,
        )
        self.logits = cast(Tensor, output.logits[:, -1])
