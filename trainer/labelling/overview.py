"""What the owner of a set of items sees: progress, time and agreement. Rankers see nothing of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..intervals import Estimate
from .agreement import mean_kendall_w, pairwise_agreement
from .ranking import FLAGS, Ranking
from .store import LabelStore


@dataclass(frozen=True)
class Pace:
    """Of all items with K answers that somebody ranked."""

    answers: int
    rankings: int
    median_seconds: float
    mean_seconds: float


@dataclass(frozen=True)
class RankerPart:
    name: str
    done: int
    left: int
    cannot_judge: int
    median_seconds: float | None


@dataclass(frozen=True)
class Overview:
    items: int
    per_item: int
    rankings: int
    wanted: int
    """Rankings in all: `per_item` of each item."""
    complete: int
    """Items that as many people ranked as were wanted."""
    cannot_judge: int
    flags: dict[str, int]
    """Flag to answers that somebody gave it."""
    rankers: tuple[RankerPart, ...]
    pace: tuple[Pace, ...]
    """InstructGPT took K = 9 because 9 answers take little longer than 4: 40 s against 30 s (arXiv:2203.02155)."""
    kendall_w: Estimate | None
    pairwise: Estimate | None
    people_per_shared_item: float | None
    """Of the items that two people or more ranked; 1 / this is about what W is by chance."""


def overview(store: LabelStore, rankers: Sequence[str]) -> Overview:
    rankings = store.rankings()
    per_item = Counter(ranking.item for ranking in rankings)
    by_item: dict[str, list[Ranking]] = defaultdict(list)
    for ranking in rankings:
        if not ranking.cannot_judge:
            by_item[ranking.item].append(ranking)
    shared = [[ranking.ranks for ranking in several] for several in by_item.values() if len(several) > 1]
    names = sorted({*rankers, *(ranking.ranker for ranking in rankings)})
    flagged = {(ranking.item, i, flag) for ranking in rankings for i, own in enumerate(ranking.flags) for flag in own}
    return Overview(
        items=len(store.items),
        per_item=store.per_item,
        rankings=len(rankings),
        wanted=len(store.items) * store.per_item,
        complete=sum(count >= store.per_item for count in per_item.values()),
        cannot_judge=sum(ranking.cannot_judge for ranking in rankings),
        flags={flag: sum(own == flag for _, _, own in flagged) for flag in FLAGS},
        rankers=tuple(_part(store, name, [own for own in rankings if own.ranker == name]) for name in names),
        pace=_pace(rankings),
        kendall_w=mean_kendall_w(shared),
        pairwise=pairwise_agreement(shared),
        people_per_shared_item=float(np.mean([len(several) for several in shared])) if shared else None,
    )


def _part(store: LabelStore, name: str, own: Sequence[Ranking]) -> RankerPart:
    seconds = [ranking.seconds for ranking in own]
    median = float(np.median(seconds)) if seconds else None
    cannot_judge = sum(ranking.cannot_judge for ranking in own)
    return RankerPart(name, len(own), store.progress(name).left, cannot_judge, median)


def _pace(rankings: Sequence[Ranking]) -> tuple[Pace, ...]:
    seconds: dict[int, list[float]] = defaultdict(list)
    for ranking in rankings:
        if not ranking.cannot_judge:
            seconds[len(ranking.ranks)].append(ranking.seconds)
    return tuple(
        Pace(answers, len(own), float(np.median(own)), float(np.mean(own))) for answers, own in sorted(seconds.items())
    )
