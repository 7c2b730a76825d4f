"""The offset that makes reference answers score 0 on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rewardplane.wire import TokenPair

from ..sharding import Trained
from .evaluate import scores_of_rows


def mean_score(
    trained: Trained, references: Sequence[TokenPair], micro_batch_tokens: int, *, sample: int, seed: int
) -> float:
    """The mean raw score of reference answers, which becomes the model's `reward_offset`.

    The loss leaves a constant free; PPO does not (arXiv:2009.01325, section 3.4). Where there are more than
    `sample` references, so many are drawn. Served scores are raw scores minus the offset.
    """
    if len(references) > sample:
        drawn = np.random.default_rng(seed).choice(len(references), sample, replace=False)
        references = [references[i] for i in drawn]
    costs = [len(pair.question_ids) + len(pair.answer_ids) for pair in references]
    scores = scores_of_rows(trained, [[pair] for pair in references], costs, micro_batch_tokens)
    return float(np.concatenate(scores).astype(np.float64).mean())
