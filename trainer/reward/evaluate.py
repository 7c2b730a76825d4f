"""How well a reward model puts answers into people's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rewardplane.modeling.models import pair_scores
from rewardplane.wire import TokenPair

from ..batches import turns
from ..sharding import Trained
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


def evaluate(trained: Trained, groups: Sequence[Group], micro_batch_tokens: int) -> Evaluation:
    """Compares answers to the same question only. Raises ValueError where no pair is ranked."""
    scores = group_scores(trained, groups, micro_batch_tokens)
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


def group_scores(
    trained: Trained, groups: Sequence[Group], micro_batch_tokens: int
) -> list[NDArray[np.float32]]:  # [K] each
    """Scores of each question's answers, before the offset, in float32."""
    rows = [group.pairs for group in groups]
    return scores_of_rows(trained, rows, [group.num_tokens for group in groups], micro_batch_tokens)


@torch.no_grad()  # not inference_mode: shards that are gathered in it cannot be trained afterwards
def scores_of_rows(
    trained: Trained, rows: Sequence[Sequence[TokenPair]], costs: Sequence[int], micro_batch_tokens: int
) -> list[NDArray[np.float32]]:
    """Scores of each row's pairs, before the offset, in float32; every process computes its share and gets all."""
    processes = trained.processes
    filled = [i for i, row in enumerate(rows) if row]
    own: dict[int, NDArray[np.float32]] = {}
    for turn in turns(filled, costs, micro_batch_tokens, processes.count)[processes.rank]:
        flat = trained(pair_scores, [pair for i in turn.rows for pair in rows[i]]).float().cpu().numpy()
        ends = np.cumsum([len(rows[i]) for i in turn.rows])
        if turn.weight:
            own |= dict(zip(turn.rows, np.split(flat, ends[:-1]), strict=True))
    every = {i: scores for part in processes.gather(own) for i, scores in part.items()}
    return [every.get(i, np.empty(0, np.float32)) for i in range(len(rows))]
