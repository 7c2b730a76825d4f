"""Which questions are asked."""

from __future__ import annotations

import numpy as np
import torch
from rewardplane.trainer.data import read_ranked
from rewardplane.trainer.rounds.choice import by_disagreement, by_margin
from rewardplane.trainer.rounds.heads import PULL, fit_head, head_scores
from rewardplane.trainer.rounds.place import Round


def test_close_scores_are_asked_first() -> None:
    # Mean distances over pairs: 2, (1 + 2 + 3) / 3 = 2 again (the first stays first), 0.5.
    scores = [np.float32([0, 2]), np.float32([0, 1, 3]), np.float32([1, 1.5])]
    assert by_margin(scores) == [2, 0, 1]


def test_what_the_heads_disagree_about_is_asked_first() -> None:
    agreed = np.float32([[3, 0], [3, 0], [3, 0]])  # margins differ from 0, and no head from another
    split = np.float32([[3, 0], [0, 3], [3, 0]])
    unsure = np.float32([[0.1, 0], [0, 0.1], [0.1, 0]])
    assert by_disagreement([agreed, unsure, split]) == [2, 1, 0]


def test_a_head_is_where_its_loss_has_no_slope() -> None:
    rng = np.random.default_rng(0)
    states = [torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32)) for _ in range(12)]
    ranks = [(0, 1, 2)] * 12
    own = torch.zeros(4)
    head = fit_head(states, ranks, own, [7, 0])
    drawn = np.random.default_rng([7, 0]).integers(12, size=12)
    # d/dh of the mean over questions of -1/3 sum over pairs of ln sigmoid(h.(x_w - x_l)), plus the pull.
    slope = 2 * PULL * head.numpy().astype(np.float64)
    for i in drawn:
        x = states[i].numpy().astype(np.float64)
        for better, worse in ((0, 1), (0, 2), (1, 2)):
            gap = x[better] - x[worse]
            slope -= gap / (1 + np.exp(gap @ head.numpy())) / 3 / 12
    assert np.abs(slope).max() < 1e-4
    assert torch.equal(head, fit_head(states, ranks, own, [7, 0]))
    assert not torch.allclose(head, fit_head(states, ranks, own, [7, 1]), atol=1e-2)


def test_heads_score_every_answer(first_round: Round) -> None:
    rows = read_ranked(first_round.directory / "rankings.jsonl")
    scores = head_scores(first_round.trained_reward(), rows, rows[:2], 3, seed=0)
    assert [own.shape for own in scores] == [(3, len(row.answers)) for row in rows[:2]]
    assert scores[0].std(axis=0).max() > 1e-4
