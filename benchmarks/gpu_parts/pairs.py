"""Pairs to be scored: lengths as people's questions and answers have them, and K answers to a question."""

from __future__ import annotations

import numpy as np

from rewardplane.modeling.packing import PackedPairs
from rewardplane.wire import TokenPair


def mixed(tokens: int, vocabulary: int, *, longest: int = 1024, seed: int = 0) -> list[TokenPair]:
    """Pairs of log-normal length around 200 tokens, question and answer in equal parts; about `tokens` in all."""
    rng = np.random.default_rng(seed)
    pairs: list[TokenPair] = []
    while tokens > 0:
        length = int(np.clip(rng.lognormal(np.log(200), 0.8), 8, min(longest, max(tokens, 8))))
        ids = rng.integers(2, vocabulary, length).astype(np.int32)
        pairs.append(TokenPair(ids[: length // 2], ids[length // 2 :]))
        tokens -= length
    return pairs


def ranked(
    questions: int, answers: int, question_tokens: int, answer_tokens: int, vocabulary: int, *, seed: int = 0
) -> list[TokenPair]:
    """K answers to each question, question by question."""
    rng = np.random.default_rng(seed)
    found: list[TokenPair] = []
    for _ in range(questions):
        question = rng.integers(2, vocabulary, question_tokens).astype(np.int32)
        found += [
            TokenPair(question, rng.integers(2, vocabulary, answer_tokens).astype(np.int32)) for _ in range(answers)
        ]
    return found


def spans(packed: PackedPairs) -> list[tuple[int, int]]:
    """(queries, keys) of every segment of a row, for counting operations."""
    return [(segment.length, segment.position + segment.length) for segment in packed.segments]
