"""A question and K answers in the order that people gave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..conversation import Question

Rank = int | None
"""0 is the best, ties are equal, gaps are allowed; None is unknown."""

Ranks = Sequence[Rank]
"""Of the answers to one question."""


@dataclass(frozen=True)
class RankedAnswers:
    """The answers to one question in the order that people gave them."""

    question: Question
    answers: tuple[str, ...]  # K >= 2
    ranks: tuple[Rank, ...]  # K
    source: str = ""
    """Where the ranking comes from, as the row says; evaluation counts by it."""
    split: str = ""
    """As the row says: "train", "test"."""
    place: str = dataclasses.field(default="", compare=False)
    """Where it was read: "FILE:LINE"."""


def ordered_pairs(ranks: Ranks) -> Iterator[tuple[int, int]]:
    """Gives (better, worse) places of every pair of answers with different known ranks."""
    known = [(rank, place) for place, rank in enumerate(ranks) if rank is not None]
    for better_rank, better in known:
        for worse_rank, worse in known:
            if better_rank < worse_rank:
                yield better, worse
