"""Cuts a rollout into minibatches (one optimizer step each) and those into micro-batches (one forward each).

The cut is drawn once an update and kept for all its epochs: the pass that measures the old log-probs packs
the very rows that the first step packs, so the first ratio is 1 to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rewardplane.modeling.packing import PackedPairs, pack, packed_length
from rewardplane.wire import TokenPair

Rows = tuple[int, ...]
"""Numbers of the rollout's answers that share a forward."""


@dataclass(frozen=True)
class MicroBatch:
    """Answers that share a forward, packed for all passes of an update."""

    rows: Rows
    packed: PackedPairs


Minibatch = tuple[MicroBatch, ...]


def cut(
    pairs: Sequence[TokenPair],
    *,
    minibatches: int,
    answers_per_question: int,
    max_tokens: int,
    rng: np.random.Generator,
) -> tuple[tuple[Rows, ...], ...]:
    """Deals whole questions out to minibatches at random; a micro-batch has at most `max_tokens` tokens.

    The K answers of a question stay together, even beyond `max_tokens`, so that they share its computation.
    """
    questions = len(pairs) // answers_per_question
    dealt = np.array_split(rng.permutation(questions), minibatches)
    return tuple(
        tuple(_group(pairs, [_answers(int(q), answers_per_question) for q in part], max_tokens))
        for part in dealt
        if len(part)
    )


def in_order(pairs: Sequence[TokenPair], *, answers_per_question: int, max_tokens: int) -> tuple[Rows, ...]:
    """One pass over all answers, for measuring them."""
    questions = range(len(pairs) // answers_per_question)
    return tuple(_group(pairs, [_answers(q, answers_per_question) for q in questions], max_tokens))


def packed_minibatch(pairs: Sequence[TokenPair], parts: Sequence[Rows], device: torch.device) -> Minibatch:
    return tuple(MicroBatch(rows, pack([pairs[i] for i in rows]).to(device)) for rows in parts)


def _answers(question: int, answers_per_question: int) -> list[int]:
    return list(range(question * answers_per_question, (question + 1) * answers_per_question))


def _group(pairs: Sequence[TokenPair], questions: list[list[int]], max_tokens: int) -> list[Rows]:
    batches: list[Rows] = []
    rows: list[int] = []
    used = 0
    for answers in questions:
        cost = packed_length([pairs[i] for i in answers])
        if rows and used + cost > max_tokens:
            batches.append(tuple(rows))
            rows, used = [], 0
        rows.extend(answers)
        used += cost
    batches.append(tuple(rows))
    return batches
