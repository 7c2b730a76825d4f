"""How well a reward model puts answers into people's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.modeling import models
from rewardplane.wire import TokenPair

from ..batches import by_tokens
from .groups import Group
from .loss import Ranks, ordered_pairs


@dataclass(frozen=True)
class Evaluation:
    accuracy: float
    """Share of pairs whose better answer has the higher score; 0.5 is chance, equal scores count one half."""
    pairs: int
    """Pairs of answers to one question with different known ranks."""
    questions: int
    """Questions that have such a pair."""
    mean_score: float
    """Over all answers, before the offset."""
    score_std: float
    """Standard deviation over all answers."""


def evaluate(model: Any, groups: Sequence[Group], micro_batch_tokens: int) -> Evaluation:
    """Compares answers to the same question only. Raises ValueError where no pair is ranked."""
    scores = group_scores(model, groups, micro_batch_tokens)
    right = pairs = questions = 0.0
    for own, group in zip(scores, groups, strict=True):
        own_right, own_pairs = ranked_right(own, group.ranks)
        right, pairs, questions = right + own_right, pairs + own_pairs, questions + (own_pairs > 0)
    if not pairs:
        raise ValueError(f"none of {len(groups)} questions has two answers with different ranks")
    every = np.concatenate(scores)
    return Evaluation(right / pairs, int(pairs), int(questions), float(every.mean()), float(every.std()))


def ranked_right(scores: NDArray[np.float32], ranks: Ranks) -> tuple[float, int]:
    """Counts the pairs of one question that the scores put in order, and all of its pairs."""
    order = [float(np.sign(scores[better] - scores[worse])) for better, worse in ordered_pairs(ranks)]
    return sum((1.0 + sign) / 2.0 for sign in order), len(order)


def group_scores(model: Any, groups: Sequence[Group], micro_batch_tokens: int) -> list[NDArray[np.float32]]:  # [K] each
    """Scores of each question's answers, before the offset, in float32."""
    scores = []
    for rows in by_tokens(range(len(groups)), [g.num_tokens for g in groups], micro_batch_tokens):
        pairs = [pair for i in rows for pair in groups[i].pairs]
        flat = pair_scores(model, pairs).numpy() if pairs else np.empty(0, np.float32)
        ends = np.cumsum([len(groups[i].pairs) for i in rows])
        scores += np.split(flat, ends[:-1])
    return scores


@torch.inference_mode()
def pair_scores(model: Any, pairs: Sequence[TokenPair]) -> Tensor:  # float32[n] on CPU
    """Scores of one micro-batch, before the offset."""
    return models.pair_scores(model, pairs).float().cpu()
