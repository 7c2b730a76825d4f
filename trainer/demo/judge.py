"""Judges of answers that never saw the reward model: the VADER lexicon, and how much answers repeat."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from ..distinct import distinct_bigrams_ratio

POSITIVE_FROM = 0.05  # VADER's own threshold for "positive sentiment" (its README, section About the Scoring)


@dataclass(frozen=True)
class Judgement:
    mean_compound: float  # -1..1, lexicon score of question + answer, mean over answers
    positive_ratio: float  # 0..1, share of answers whose compound is at least 0.05
    distinct_bigrams_ratio: float  # 0..1, see distinct_bigrams_ratio
    answers: int


def judge_answers(questions: Sequence[str], answers: Sequence[str]) -> Judgement:
    """Judges answers to questions, pairwise; bigrams are those of words in the answers alone.

    Raises ValueError if there are none or the lengths differ.
    """
    if len(questions) != len(answers) or not answers:
        raise ValueError(f"{len(questions)} questions, {len(answers)} answers: need as many, and one or more")
    compounds = compound_scores([q + a for q, a in zip(questions, answers, strict=True)])
    return Judgement(
        mean_compound=float(compounds.mean()),
        positive_ratio=float((compounds >= POSITIVE_FROM).mean()),
        distinct_bigrams_ratio=distinct_bigrams_ratio([words(answer) for answer in answers]),
        answers=len(answers),
    )


def judge_figures(questions: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Gives the judgement by name, as the evaluations during PPO want it."""
    judgement = judge_answers(questions, answers)
    return {"judge": judgement.mean_compound, "positive_ratio": judgement.positive_ratio}


def compound_scores(texts: Sequence[str]) -> NDArray[np.float64]:  # [N]
    """Gives VADER's compound score of each text, -1 (negative) to 1 (positive); 0 where it knows no word."""
    analyzer = _analyzer()
    return np.array([analyzer.polarity_scores(text)["compound"] for text in texts], dtype=np.float64)


def words(text: str) -> list[str]:
    """Gives the words of a text, in small letters, with punctuation marks as words of their own."""
    return re.findall(r"\w+(?:'\w+)*|[^\w\s]", text.casefold())


def best_of_n(scores: ArrayLike) -> NDArray[np.intp]:  # [Q, n] -> [Q]
    """Gives, for each question, the index of its highest scored answer (the first of equals).

    Raises ValueError for another shape or a NaN, which argmax would take for the best.
    """
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"scores must have the shape [questions, answers], not {matrix.shape}")
    if np.isnan(matrix).any():
        raise ValueError("scores contain NaN")
    best: NDArray[np.intp] = matrix.argmax(axis=1)
    return best


def best_of_n_kl_nats(n: int) -> float:
    """Upper bound on the KL of best-of-n to the sampled distribution: ln n - (n - 1) / n.

    Beirami et al. (arXiv:2401.01879), theorem 1.
    """
    return float(np.log(n) - (n - 1) / n)


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()  # reads 7,500 lexicon rows from disk
