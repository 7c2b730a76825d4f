"""Comparisons between answers to one question, as one table of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..intervals import Estimate, estimate
from ..rankings.ranked import RankedAnswers, ordered_pairs


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every pair of answers to one question with different known ranks."""

    questions: int
    question: NDArray[np.int64]  # [P]  row of the file
    margin: NDArray[np.float64]  # [P]  score of the better answer minus that of the worse one
    longer: NDArray[np.float64]  # [P]  characters of the better answer minus those of the worse one
    length_ratio: NDArray[np.float64]  # [P]  of the longer answer to the shorter one, 1 or more

    def __len__(self) -> int:
        return len(self.margin)

    def accuracy(self, chosen: NDArray[np.bool_] | None = None) -> Estimate | None:
        """Share of pairs whose better answer has the higher score; equal scores count one half."""
        return self.share(self.margin, chosen)

    def length_baseline(self, chosen: NDArray[np.bool_] | None = None) -> Estimate | None:
        """The accuracy of a model that takes the number of characters for its score."""
        return self.share(self.longer, chosen)

    def share(self, sign: NDArray[np.float64], chosen: NDArray[np.bool_] | None) -> Estimate | None:
        at = slice(None) if chosen is None else chosen
        right = (1.0 + np.sign(sign[at])) / 2.0
        question = self.question[at]
        totals = np.bincount(question, right, minlength=self.questions)
        return estimate(totals, np.bincount(question, minlength=self.questions))


def pair_table(
    rows: Sequence[RankedAnswers],
    scores: Sequence[NDArray[np.float32]],  # [K] each
) -> Pairs:
    question, margin, better_length, worse_length = [], [], [], []
    for number, (row, own) in enumerate(zip(rows, scores, strict=True)):
        for better, worse in ordered_pairs(row.ranks):
            question.append(number)
            margin.append(float(own[better]) - float(own[worse]))
            better_length.append(len(row.answers[better]))
            worse_length.append(len(row.answers[worse]))
    lengths = np.array([better_length, worse_length], np.float64).reshape(2, -1)
    return Pairs(
        questions=len(rows),
        question=np.array(question, np.int64),
        margin=np.array(margin, np.float64),
        longer=lengths[0] - lengths[1],
        length_ratio=lengths.max(axis=0) / lengths.min(axis=0),
    )
