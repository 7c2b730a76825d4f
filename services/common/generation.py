"""Splits a request for answers into blocks that are short enough for scoring to wait for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.sampling import Sampling

Ids = NDArray[np.int32]


@runtime_checkable
class Sampler(Protocol):
    """A served model that writes answers."""

    def sample(self, questions: Sequence[Ids], answers_per_question: int, sampling: Sampling) -> list[Ids]:
        """Answers question by question. On the compute thread."""
        ...


@dataclass(frozen=True)
class GeneratedAnswer:
    """One sampled answer."""

    question_ids: Ids  # int32[Q]
    answer_ids: Ids  # int32[A], A >= 1
    text: str
    logprobs: NDArray[np.float32]  # [A] nats, at the temperature of sampling (1 when greedy)
    stopped: bool
    """Whether it ends with a stop token; else it is max_answer_tokens long."""


@dataclass(frozen=True)
class Block:
    """Answers that are sampled side by side."""

    questions: tuple[Ids, ...]
    answers_per_question: int
    sampling: Sampling

    @property
    def tokens(self) -> int:
        """What the block may at most compute, for the bound of the queue."""
        answers = self.sampling.max_answer_tokens * self.answers_per_question
        return sum(len(question) + answers for question in self.questions)


def blocks(questions: Sequence[Ids], answers_per_question: int, sampling: Sampling, max_rows: int) -> Iterator[Block]:
    """Blocks of at most `max_rows` answers, in the order of the answers.

    The sampler numbers a block's answers from 0, so each block gets a seed of its own; the first keeps the
    caller's.
    """
    together = max(1, max_rows // answers_per_question)
    number = 0
    for start in range(0, len(questions), together):
        for first in range(0, answers_per_question, max_rows):
            answers = min(max_rows, answers_per_question - first)
            seeded = replace(sampling, seed=_block_seed(sampling.seed, number))
            yield Block(tuple(questions[start : start + together]), answers, seeded)
            number += 1


def _block_seed(seed: int, number: int) -> int:
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "little")
