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

from ..batches import Turn, turns
from ..processes import ALONE, Processes
from .rollout import TrainingBatch

Rows = tuple[int, ...]
"""Numbers of the rollout's answers that share a forward."""


@dataclass(frozen=True)
class MicroBatch:
    """Answers that share a forward, packed for all passes of an update."""

    rows: Rows
    packed: PackedPairs
    weight: float = 1.0
    """0.0 where the process only keeps step with the others: the rows are computed by another one."""


Minibatch = tuple[MicroBatch, ...]
"""What one process computes of an optimizer step."""


def cut(
    pairs: Sequence[TokenPair],
    *,
    minibatches: int,
    answers_per_question: int,
    max_tokens: int,
    rng: np.random.Generator,
    processes: Processes = ALONE,
) -> tuple[tuple[Turn, ...], ...]:  # of this process, by minibatch
    """Deals whole questions out to minibatches at random; a micro-batch has at most `max_tokens` tokens.

    The K answers of a question stay together, even beyond `max_tokens`, so that they share its computation.
    """
    questions = len(pairs) // answers_per_question
    dealt = np.array_split(rng.permutation(questions), minibatches)
    return tuple(
        tuple(_turns(pairs, [_answers(int(q), answers_per_question) for q in part], max_tokens, processes))
        for part in dealt
        if len(part)
    )


def in_order(
    pairs: Sequence[TokenPair], *, answers_per_question: int, max_tokens: int, processes: Processes = ALONE
) -> tuple[Turn, ...]:
    """One pass over all answers, for measuring them: this process's part."""
    questions = range(len(pairs) // answers_per_question)
    return tuple(_turns(pairs, [_answers(q, answers_per_question) for q in questions], max_tokens, processes))


def packed_minibatch(pairs: Sequence[TokenPair], parts: Sequence[Turn], device: torch.device) -> Minibatch:
    return tuple(
        MicroBatch(tuple(turn.rows), pack([pairs[i] for i in turn.rows]).to(device), turn.weight) for turn in parts
    )


def answer_tokens(minibatch: Minibatch, parts: Sequence[TrainingBatch], processes: Processes) -> float:
    """Of the whole minibatch, over all processes; `parts` are the rows of the micro-batches."""
    own = sum(micro.weight * float(part.answer_mask.sum()) for micro, part in zip(minibatch, parts, strict=True))
    return processes.sums([own])[0]


def _answers(question: int, answers_per_question: int) -> list[int]:
    return list(range(question * answers_per_question, (question + 1) * answers_per_question))


def _turns(pairs: Sequence[TokenPair], questions: list[list[int]], max_tokens: int, processes: Processes) -> list[Turn]:
    costs = [packed_length([pairs[i] for i in answers]) for answers in questions]
    own = turns(range(len(questions)), costs, max_tokens, processes.count)[processes.rank]
    return [Turn([i for q in turn.rows for i in questions[q]], turn.weight) for turn in own]
