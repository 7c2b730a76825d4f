"""What a ranker is given, and what one ranker said about one item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..conversation import Question
from ..jsonl import BadData
from ..rankings.ranked import Rank

FLAGS = ("harmful", "nonsense")
"""What an answer can be marked as, beside its rank."""

Flags = tuple[str, ...]
"""Of one answer, in the order of FLAGS."""


@dataclass(frozen=True)
class Assignment:
    """One item as one ranker sees it: nothing about where the answers come from, and in an order of its own."""

    id: int
    ranker: str
    item: str
    question: Question
    answers: tuple[str, ...]  # K, as shown
    order: tuple[int, ...]  # K  own place in the item of each answer that is shown
    draft: str = ""
    """What the page kept of an order that is not finished; only the page reads it."""


@dataclass(frozen=True)
class Ranking:
    """What one ranker said about one item, in the item's own order of answers."""

    item: str
    ranker: str
    ranks: tuple[Rank, ...]  # K  0 is the best, ties are equal, no gaps; all None where nobody could judge
    flags: tuple[Flags, ...]  # K
    seconds: float
    """Time in which the ranker worked on it."""
    cannot_judge: bool


def checked_ranks(ranks: Sequence[Rank], answers: int, cannot_judge: bool) -> tuple[Rank, ...]:
    """Ranks without gaps from 0 on; none at all where the ranker could not judge. Raises BadData."""
    if len(ranks) != answers:
        raise BadData(f"has {len(ranks)} ranks for {answers} answers; null stands for unknown")
    if cannot_judge:
        return (None,) * answers
    known = sorted({rank for rank in ranks if rank is not None})
    if len([rank for rank in ranks if rank is not None]) < 2:
        raise BadData("ranks fewer than two answers; give an order, or say that it cannot be judged")
    return tuple(None if rank is None else known.index(rank) for rank in ranks)


def checked_flags(flags: Sequence[Sequence[str]], answers: int) -> tuple[Flags, ...]:
    """Raises BadData."""
    if len(flags) != answers:
        raise BadData(f"has flags for {len(flags)} of {answers} answers; an empty list stands for none")
    unknown = sorted({flag for own in flags for flag in own} - set(FLAGS))
    if unknown:
        raise BadData(f"has the flag {unknown[0]}; {' and '.join(FLAGS)} are known")
    return tuple(tuple(flag for flag in FLAGS if flag in own) for own in flags)
