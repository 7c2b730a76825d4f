"""A simulated ranker, for tests and experiments: the VADER lexicon with noise. No person is behind its rankings.

Its noise is fitted to what one person is like: two people's orders of the same texts differ, and one person puts 0.838
of the pairs of VADER's film texts in the order of the others' mean rating.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..conversation import Question
from ..demo.judge import compound_scores
from ..labelling.items import Item
from ..labelling.store import LabelStore
from ..rankings.ranked import Rank

SIMULATED = "simulated lexicon"
ONE_PERSON_AGREEMENT = 0.84
SECONDS_4, SECONDS_9 = 30.0, 40.0
"""InstructGPT's figures for K = 4 and K = 9 as this project has them."""
LARGEST_NOISE = 1e3

Floats = NDArray[np.float64]


def lexicon_scores(question: Question, answers: Sequence[str]) -> Floats:  # [K]
    """VADER's compound of the question with each answer, -1 to 1; the answer goes on from the question's text."""
    asked = question if isinstance(question, str) else question[-1].content + "\n"
    return compound_scores([asked + answer for answer in answers])


def expected_agreement(scores: Sequence[Floats], noise: float) -> float:  # [K] each
    """Share of pairs that a noisy ranker puts in order, over all pairs of one item with different scores.

    P(d + noise * (e_1 - e_2) > 0) = Phi(d / (noise * sqrt 2)) for two independent normal errors: Thurstone's case V.
    """
    gaps = np.concatenate([_gaps(own) for own in scores])
    if not len(gaps):
        raise ValueError("no item has two answers that the lexicon scores differently")
    return float(np.mean([0.5 * (1.0 + math.erf(gap / (2.0 * noise))) for gap in gaps]))


def fit_noise(scores: Sequence[Floats], agreement: float = ONE_PERSON_AGREEMENT) -> float:
    """The noise with this expected agreement, by bisection: agreement falls from 1 to 0.5 as noise grows."""
    low, high = 1e-6, LARGEST_NOISE
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if expected_agreement(scores, middle) > agreement else (low, middle)
    return math.sqrt(low * high)


def noisy_ranks(scores: Floats, noise: float, rng: np.random.Generator) -> tuple[Rank, ...]:  # [K]
    """0 is the best. Answers that the lexicon cannot tell apart are a tie, as it has nothing to prefer."""
    levels, level_of = np.unique(scores, return_inverse=True)
    heard = levels + noise * rng.standard_normal(len(levels))
    place = (-heard).argsort().argsort()
    return tuple(int(place[level]) for level in level_of)


def simulated_seconds(answers: int) -> float:
    """The line through InstructGPT's two figures; beyond them it is a guess."""
    return SECONDS_4 + (SECONDS_9 - SECONDS_4) * (answers - 4) / 5


def rank_all(store: LabelStore, noise: float, seed: int) -> None:
    """Ranks what is left of the items, in the store's own order, as a person would on the page."""
    numbers = {name: number for number, name in enumerate(store.items)}
    for person in range(store.per_item):
        ranker = f"{SIMULATED} {person + 1}"
        while (assignment := store.next(ranker)) is not None:
            rng = np.random.default_rng([seed, person, numbers[assignment.item]])
            ranks = noisy_ranks(lexicon_scores(assignment.question, assignment.answers), noise, rng)
            store.submit(assignment, ranks, seconds=simulated_seconds(len(ranks)))


def item_scores(items: Sequence[Item]) -> list[Floats]:
    return [lexicon_scores(item.question, item.answers) for item in items]


def _gaps(scores: Floats) -> Floats:  # of the pairs that differ
    first, second = np.triu_indices(len(scores), k=1)
    gaps = np.abs(scores[first] - scores[second])
    differing: Floats = gaps[gaps > 0]
    return differing
