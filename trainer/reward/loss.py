"""The reward model's loss over rankings of K answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rankings.ranked import Ranks as Ranks
from ..rankings.ranked import ordered_pairs as ordered_pairs


def kwise_loss(
    scores: Tensor,  # [n]  of all answers, question by question
    ranks: Sequence[Ranks],  # one per question; their lengths sum to n
) -> tuple[Tensor, int]:  # scalar, number of questions that have a pair
    """Mean over questions of -1/|P| * sum over (w, l) in P of logsigmoid(r_w - r_l).

    InstructGPT (arXiv:2203.02155) eq. 1. P holds the pairs of answers with different known ranks; a question
    without such a pair is left out of the mean. Without any question the loss is 0.
    """
    better, worse, weights = [], [], []
    start = num_questions = 0
    for own in ranks:
        pairs = list(ordered_pairs(own))
        better += [start + winner for winner, _ in pairs]
        worse += [start + loser for _, loser in pairs]
        weights += [1.0 / len(pairs) for _ in pairs]
        num_questions += bool(pairs)
        start += len(own)
    if start != len(scores):
        raise ValueError(f"{len(scores)} scores for {start} ranks")
    index = torch.tensor([better, worse], dtype=torch.int64, device=scores.device)
    margins = scores[index[0]] - scores[index[1]]
    total = -(F.logsigmoid(margins) * scores.new_tensor(weights)).sum()
    return total / max(num_questions, 1), num_questions
