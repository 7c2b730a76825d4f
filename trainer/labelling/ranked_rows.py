"""Rankings as rows of ranked answers, which `rewardplane train reward` and `rewardplane data` read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..conversation import question_as_row
from ..jsonl import BadData, Row, field, filled_text, items
from .items import Item
from .ranking import Ranking
from .shuffled import own_places
from .store import LabelStore


def write_rankings(store: LabelStore, file: Path | str) -> int:
    """Writes one row for each item and ranker, and gives their number.

    People who disagree give several rows with one question, each with its own order: a reward model then learns how
    often an answer was preferred. Where a ranker could not judge there is no row.
    """
    rows = ranked_rows(store.rankings(), list(store.items.values()))
    with Path(file).open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def ranked_rows(rankings: Sequence[Ranking], all_items: Sequence[Item]) -> list[dict[str, Any]]:
    by_id = {item.id: item for item in all_items}
    return [_row(ranking, by_id[ranking.item]) for ranking in rankings if not ranking.cannot_judge]


def ranking_of_row(row: Row, item: Item) -> Ranking:
    """What such a row says about the item, its answers in whatever order. Raises BadData."""
    texts = [filled_text(answer, f"answers[{i}]") for i, answer in enumerate(items(row, "answers"))]
    places = list(own_places(item, {str(number): text for number, text in enumerate(texts)}).values())
    ranks, flags = items(row, "ranks"), row.get("flags") or [[]] * len(texts)
    if not len(ranks) == len(flags) == len(texts):
        raise BadData(f"has {len(ranks)} ranks and flags for {len(flags)} of {len(texts)} answers")
    own = sorted(zip(places, ranks, flags, strict=True))
    ranker, seconds = filled_text(field(row, "ranker"), "ranker"), float(row.get("seconds") or 0)
    own_ranks, own_flags = tuple(rank for _, rank, _ in own), tuple(tuple(flag) for _, _, flag in own)
    return Ranking(item.id, ranker, own_ranks, own_flags, seconds, cannot_judge=False)


def _row(ranking: Ranking, item: Item) -> dict[str, Any]:
    return {
        "question": question_as_row(item.question),
        "answers": list(item.answers),
        "ranks": list(ranking.ranks),
        "item": item.id,
        "ranker": ranking.ranker,
        "seconds": round(ranking.seconds, 1),
        "flags": [list(flags) for flags in ranking.flags],
    }
