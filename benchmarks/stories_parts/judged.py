"""What the judges say of answers to the held-out questions, as rows of the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rewardplane.trainer.demo.answers import Answered
from rewardplane.trainer.demo.judge import best_of_n, best_of_n_kl_nats, judge_answers

Row = dict[str, object]

FIGURES = ("judge", "positive_ratio", "score", "kl_nats", "distinct_bigrams_ratio")


def judged_row(name: str, questions: Sequence[str], answered: Answered, n: int = 1) -> Row:
    """The best of every n answers by the reward model, one a question and block of n: means over the blocks.

    All figures of a block are of as many answers as there are questions, since distinct bigrams fall with their
    number. The KL of n > 1 is that of the sampled policy's best, at most ln n - (n - 1) / n.
    """
    blocks = [_block(questions, answered, start, n) for start in range(0, answered.scores.shape[1], n)]
    means = np.mean(blocks, axis=0)
    return {"run": name, **dict(zip(FIGURES, map(float, means), strict=True))}


def _block(questions: Sequence[str], answered: Answered, start: int, n: int) -> tuple[float, ...]:
    scores = answered.scores[:, start : start + n]
    choice = best_of_n(scores)
    judgement = judge_answers(questions, answered.texts(choice + start))
    return (
        judgement.mean_compound,
        judgement.positive_ratio,
        float(scores[np.arange(len(choice)), choice].mean()),
        best_of_n_kl_nats(n) if n > 1 else float(answered.log_ratios[:, start].mean()),
        judgement.distinct_bigrams_ratio,
    )


def in_spreads(rows: Sequence[Row], reference: Answered) -> list[Row]:
    """Scores in standard deviations of the reference's answers, from their mean."""
    mean, spread = float(reference.scores.mean()), float(reference.scores.std())
    return [{**row, "score": (float(str(row["score"])) - mean) / spread} for row in rows]
