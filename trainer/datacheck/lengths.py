"""How long questions and answers are, and how much of the ranking length alone explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..conversation import Question
from ..intervals import Estimate, estimate
from ..rankings.ranked import RankedAnswers, ordered_pairs

Measure = Callable[[Sequence[str]], Sequence[int]]
"""The length of each text, in some unit."""

QUANTILES = (0.0, 0.05, 0.5, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Lengths:
    """Quantiles of the length of one part of the rows."""

    part: str
    unit: str
    quantiles: tuple[float, ...]  # at QUANTILES


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def words(texts: Sequence[str]) -> list[int]:
    """Between white space."""
    return [len(text.split()) for text in texts]


def question_texts(question: Question) -> list[str]:
    return [question] if isinstance(question, str) else [message.content for message in question]


def measure(
    rows: Sequence[RankedAnswers], units: Mapping[str, Measure]
) -> tuple[list[Lengths], dict[str, Estimate | None]]:
    """Quantiles of lengths, and how often the longer answer is the better one, by unit."""
    table: list[Lengths] = []
    bias: dict[str, Estimate | None] = {}
    for unit, length in units.items():
        questions = [sum(length(question_texts(row.question))) for row in rows]
        answers = [list(length(row.answers)) for row in rows]
        pairs = [question + max(own) for question, own in zip(questions, answers, strict=True)]
        parts = {"question": questions, "answer": [n for own in answers for n in own], "longest pair": pairs}
        for part, values in parts.items():
            quantiles = np.quantile(values, QUANTILES, method="higher")
            table.append(Lengths(part, unit, tuple(float(q) for q in quantiles)))
        bias[unit] = longer_wins(rows, answers)
    return table, bias


def longer_wins(rows: Sequence[RankedAnswers], lengths: Sequence[Sequence[int]]) -> Estimate | None:
    """Share of the pairs of different length whose longer answer is the better one; 0.5 is no bias."""
    wins, counts = [], []
    for row, own in zip(rows, lengths, strict=True):
        differences = [own[better] - own[worse] for better, worse in ordered_pairs(row.ranks)]
        wins.append(sum(d > 0 for d in differences))
        counts.append(sum(d != 0 for d in differences))
    return estimate(wins, counts)
