"""Rankings as rows of ranked answers, which `rewardplane train reward` and `rewardplane data` read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..conversation import question_as_row
from .items import Item
from .ranking import Ranking
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


def ranked_rows(rankings: Sequence[Ranking], items: Sequence[Item]) -> list[dict[str, Any]]:
    by_id = {item.id: item for item in items}
    return [_row(ranking, by_id[ranking.item]) for ranking in rankings if not ranking.cannot_judge]


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
