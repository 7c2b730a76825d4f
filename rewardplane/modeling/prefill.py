"""Reads the questions of a batch, before its answers are sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from .fused.rows import array
from .written_decoder import WrittenDecoder
from .written_layer import Kept, Place

SHORT = 64
"""Tokens of questions that a WrittenDecoder reads: to longer ones torch attends more quickly than one by one."""

TOGETHER = 256
"""Tokens that are read at once, if no question has more."""

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Prefilled:
    """B answers to be, as far as their questions."""

    cache: DynamicCache  # of n questions; B / n answers follow each
    attention_mask: Tensor  # int64[B, T]  1 on real tokens; questions are left-padded
    positions: Tensor  # int64[B, 1]  of the last token
    logits: Tensor  # [B, V]  for the next token


def prefill(
    model: Any,  # a transformers decoder with its unembedding
    questions: Sequence[Ids],  # [Q] each
    answers_per_question: int,
    decoder: WrittenDecoder | None = None,  # of the model
) -> Prefilled:
    device = next(model.parameters()).device
    lengths = np.array([len(question) for question in questions])
    starts = lengths.max() - lengths
    mask = torch.from_numpy((np.arange(lengths.max()) >= starts[:, None]).astype(np.int64)).to(device)
    # GPT-2 and others count positions from the row's start unless told otherwise.
    positions = (mask.cumsum(-1) - 1).clamp_(min=0)
    cache = DynamicCache(config=model.config)
    if decoder is not None and lengths.min() > 0 and lengths.max() <= SHORT:
        logits = _read(decoder, questions, starts, cache)
    else:
        logits = model(
            input_ids=_padded(questions, starts).to(device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
    return Prefilled(
        cache=cache,
        attention_mask=mask.repeat_interleave(answers_per_question, 0),
        positions=positions[:, -1:].repeat_interleave(answers_per_question, 0),
        logits=logits.repeat_interleave(answers_per_question, 0),
    )


def _padded(questions: Sequence[Ids], starts: NDArray[np.int64]) -> Tensor:  # int64[n, T]
    ids = np.zeros((len(questions), starts[0] + len(questions[0])), np.int64)
    for row, question, start in zip(ids, questions, starts, strict=True):
        row[start:] = question
    return torch.from_numpy(ids)


def _read(
    decoder: WrittenDecoder, questions: Sequence[Ids], starts: NDArray[np.int64], cache: DynamicCache
) -> Tensor:  # [n, V]
    """Without padding, and a few questions at a time: no tensor is larger than what memory hands out quickly."""
    layers = decoder.cache(len(questions), starts[0] + len(questions[0]))
    kept = [Kept(*both, *both) for both in array(layers)]
    logits = []
    for first, end in runs([len(question) for question in questions], TOGETHER):
        lengths = [len(question) for question in questions[first:end]]
        numbers = np.arange(first, end).repeat(lengths)
        positions = np.concatenate([np.arange(length) for length in lengths])
        places = starts[numbers] + positions
        place = Place(
            questions=numbers, starts=starts, ends=places + 1, slots=numbers, places=places, length=0,
            cos=decoder.cos[positions], sin=decoder.sin[positions],
        )  # fmt: skip
        ids = torch.from_numpy(np.concatenate(questions[first:end]))
        hidden = decoder.read(ids, place, kept, decoder.room(len(ids)))
        logits.append(decoder.logits(hidden[np.cumsum(lengths) - 1]))
    for number, (keys, values) in enumerate(layers):
        cache.update(keys, values, number)
    return torch.cat(logits)


def runs(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """First and end of as many neighbours as have `most` tokens together, or of one that has more."""
    first, tokens = 0, 0
    for number, length in enumerate(lengths):
        if tokens and tokens + length > most:
            yield first, number
            first, tokens = number, 0
        tokens += length
    yield first, len(lengths)
