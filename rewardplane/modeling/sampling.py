"""Samples answers from a decoder with a KV cache.

The random numbers of an answer depend on the seed and the answer's number alone, so an answer does not
depend on what else is in the batch, on batch order, or on how much was sampled before (exact resume needs
no state).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cuda.use import has_kernels
from .decoding_step import WrittenStep
from .decoding_threads import decoding_threads
from .prefill import Prefilled, prefill
from .readers import reader_at_rest
from .static_sampling import grow
from .written_decoder import WrittenDecoder

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
) -> list[Ids]:  # question by question, answers_per_question each; a stop token ends an answer and is part of it
    """Samples answers until a stop token or `max_answer_tokens`.

    Known models on a CPU are read by a WrittenDecoder; on a GPU a step is captured as a CUDA graph wherever it can be.
    """
    device = next(model.parameters()).device
    uniforms = uniforms_of(sampling, len(questions) * answers_per_question)
    stops = torch.tensor(list(stop_token_ids), dtype=torch.int64, device=device)
    if device.type == "cuda":
        reader = reader_at_rest(model, questions, answers_per_question, sampling.max_answer_tokens)
        if reader is not None:
            rows = grow(reader, uniforms, stops, lambda logits, drawn: choose(logits, sampling.temperature, drawn))
            return [until_stop(row, stop_token_ids) for row in rows]
    tokens = max(len(question) for question in questions) + sampling.max_answer_tokens
    written = WrittenDecoder.of(model, tokens)
    start = prefill(model, questions, answers_per_question, written)
    with decoding_threads(model, len(uniforms)):
        step: _Step = _ModelStep(model, start) if written is None else WrittenStep(written, start)
        return _grown(step, start.logits, uniforms, stops, sampling.temperature)


class _Step(Protocol):
    """The answers that are still growing."""

    def keep(self, going: Tensor) -> None:
        """Goes on with the answers at these places of the batch alone. int64[R]."""

    def read(self, tokens: Tensor) -> Tensor:
        """Appends a token to each answer. int64[R] -> [R, V], the logits for the next."""


def _grown(step: _Step, logits: Tensor, uniforms: NDArray[np.float32], stops: Tensor, temperature: float) -> list[Ids]:
    answers: list[list[int]] = [[] for _ in range(len(uniforms))]
    growing = answers
    drawn = torch.from_numpy(uniforms).to(stops.device)
    limit = uniforms.shape[1]
    for number in range(limit):
        tokens = choose(logits, temperature, drawn[:, number])
        for answer, token in zip(growing, tokens.tolist(), strict=True):
            answer.append(token)
        going = torch.isin(tokens, stops, invert=True).nonzero()[:, 0]
        if not len(going) or number + 1 == limit:
            break
        if len(going) < len(growing):
            step.keep(going)
            growing = [growing[place] for place in going.tolist()]
            tokens, drawn = tokens[going], drawn[going]
        logits = step.read(tokens)
    return [np.asarray(answer, np.int32) for answer in answers]


def until_stop(tokens: NDArray[np.int64], stops: Sequence[int]) -> Ids:
    ends = np.flatnonzero(np.isin(tokens, stops))
    return tokens[: ends[0] + 1 if len(ends) else len(tokens)].astype(np.int32)


def uniforms_of(sampling: Sampling, n: int) -> NDArray[np.float32]:
    """float32[n, max_answer_tokens] in [0, 1): row i depends on the seed and its number alone."""
    uniforms = np.empty((n, sampling.max_answer_tokens), np.float32)
    bits = np.random.Philox(key=0)
    generator, state = np.random.Generator(bits), bits.state
    for i, row in enumerate(uniforms):  # to give it another key takes a quarter of what another generator takes
        state["state"]["key"][:] = sampling.seed & (2**64 - 1), sampling.first_answer + i
        bits.state = state
        generator.random(out=row, dtype=np.float32)
    return uniforms


def choose(logits: Tensor, temperature: float, uniforms: Tensor) -> Tensor:
    """Draws by inverse CDF. float[B, V], float[B] in [0, 1) -> int64[B]."""
    if temperature == 0:
        return logits.argmax(-1)
    if has_kernels(logits):
        from .cuda.drawing import draw

        return draw(logits, temperature, uniforms)
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    cumulative = scaled.softmax(-1).cumsum(-1)
    # The first entry above the threshold: a token of probability 0 never is.
    threshold = uniforms[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    return chosen.clamp_(max=logits.shape[-1] - 1)


class _ModelStep:
    """The answers that are still growing, through the model's own forward pass."""

    def __init__(self, model: Any, start: Prefilled) -> None:
        self._model, self._cache = model, start.cache
        first: Any = self._cache.layers[0]
        self._cache.batch_repeat_interleave(len(start.logits) // len(first.keys))
        self._attention_mask, self._positions = start.attention_mask, start.positions

    def keep(self, going: Tensor) -> None:
        self._cache.batch_select_indices(going)
        self._attention_mask, self._positions = self._attention_mask[going], self._positions[going]

    def read(self, tokens: Tensor) -> Tensor:
        one = self._attention_mask.new_ones(len(tokens), 1)
        self._attention_mask = torch.cat([self._attention_mask, one], 1)
        self._positions = self._positions + 1
        output = self._model(
            input_ids=tokens[:, None],
            attention_mask=self._attention_mask,
            position_ids=self._positions,
            past_key_values=self._cache,
        )
        return cast(Tensor, output.logits[:, -1])
