"""The offset that makes reference answers score 0 on average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rewardplane.wire import TokenPair

from ..batches import by_tokens
from .evaluate import pair_scores


def set_reward_offset(
    model: Any, references: Sequence[TokenPair], micro_batch_tokens: int, *, sample: int, seed: int
) -> float:
    """Stores the mean raw score of reference answers as `config.reward_offset`, and gives it back.

    The loss leaves a constant free; PPO does not (arXiv:2009.01325, section 3.4). Where there are more than
    `sample` references, so many are drawn. Served scores are raw scores minus the offset.
    """
    if len(references) > sample:
        drawn = np.random.default_rng(seed).choice(len(references), sample, replace=False)
        references = [references[i] for i in drawn]
    costs = [len(pair.question_ids) + len(pair.answer_ids) for pair in references]
    total = 0.0
    for rows in by_tokens(range(len(references)), costs, micro_batch_tokens):
        total += float(pair_scores(model, [references[i] for i in rows]).double().sum())
    model.config.reward_offset = total / len(references)
    return float(model.config.reward_offset)
