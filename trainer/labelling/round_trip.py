"""To and from other tools: rankings leave as files that they read; of those that come back, bad ones are named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..conversation import question_as_row
from ..jsonl import BadData, Row, json_rows
from ..rankings.argilla import is_record
from ..rankings.label_studio import is_task
from ..rankings.ranked import ordered_pairs
from ..row_files import MAX_REPORTED
from . import argilla, label_studio
from .items import Item
from .ranked_rows import ranked_rows, ranking_of_row
from .ranking import Ranking, checked_flags, checked_ranks
from .store import LabelStore


class Form(StrEnum):
    RANKINGS = "rankings"
    TRL = "trl"
    LABEL_STUDIO = "label-studio"
    ARGILLA = "argilla"


def export(store: LabelStore, form: Form, out: Path, answers: int | None = None) -> list[Path]:
    """Writes the file, and for Label Studio its labelling interface beside it; `answers` chooses items by their K.

    Gives what was written. Raises BadData; nothing is overwritten.
    """
    items = [item for item in store.items.values() if answers in (None, len(item.answers))]
    if not items:
        raise BadData(f"no item has {answers} answers")
    chosen = {item.id for item in items}
    rankings = [ranking for ranking in store.rankings() if ranking.item in chosen]
    contents = {out: _content(form, items, rankings)}
    if form is Form.LABEL_STUDIO:
        contents[out.with_suffix(".xml")] = label_studio.labelling_interface()
    for path in contents:
        if path.exists():
            raise BadData(f"{path} exists: nothing is overwritten")
    for path, content in contents.items():
        path.write_text(content, encoding="utf-8", newline="\n")
    return list(contents)


def pairs(items: Sequence[Item], rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """TRL's preference data with an explicit prompt: a row for each two answers of which one was preferred."""
    by_id = {item.id: item for item in items}
    rows = []
    for ranking in rankings:
        item = by_id[ranking.item]
        for better, worse in ordered_pairs(ranking.ranks):
            chosen, rejected = (_as_answer(item, item.answers[own]) for own in (better, worse))
            rows.append({"prompt": question_as_row(item.question), "chosen": chosen, "rejected": rejected})
    return rows


@dataclass(frozen=True)
class Imported:
    rankings: tuple[Ranking, ...]
    problems: tuple[str, ...]
    """What could not be used: "FILE:LINE: item ID: what is wrong"."""


def read_export(path: Path, store: LabelStore, rankers: Sequence[str] = ()) -> Imported:
    """Reads tasks, records, or rows that `write_rankings` wrote, for items of the store. Raises BadData for no file."""
    known = [*rankers, *(ranking.ranker for ranking in store.rankings())]
    rankings: list[Ranking] = []
    problems: list[str] = []
    for place, row in json_rows(path):
        if isinstance(row, BadData):
            problems.append(f"{place}: {row}")
            continue
        name = _item_of(row)
        try:
            found = _rankings_of(row, name, store, known)
            rankings += [_checked(ranking) for ranking in found]
        except BadData as error:
            problems.append(f"{place}: item {name}: {error}")
    return Imported(tuple(rankings), tuple(problems))


def import_rankings(path: Path, store: LabelStore, rankers: Sequence[str] = (), *, skip_bad: bool = False) -> Imported:
    """Keeps every ranking of the file in the store, or none where one is bad. Raises BadData.

    With `skip_bad` the good ones are kept all the same, and the problems are given back.
    """
    found = read_export(path, store, rankers)
    if found.problems and not skip_bad:
        unlisted = len(found.problems) - MAX_REPORTED
        more = [f"... and {unlisted} more"] if unlisted > 0 else []
        raise BadData("\n".join([*found.problems[:MAX_REPORTED], *more]))
    for ranking in found.rankings:
        store.add(ranking)
    return found


def _content(form: Form, items: Sequence[Item], rankings: Sequence[Ranking]) -> str:
    if form is Form.LABEL_STUDIO:
        return _as_list(label_studio.tasks(items, rankings))
    if form is Form.ARGILLA:
        return _as_list(argilla.records(items, rankings))
    rows = ranked_rows(rankings, items) if form is Form.RANKINGS else pairs(items, rankings)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _as_list(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def _as_answer(item: Item, answer: str) -> str | list[dict[str, str]]:
    return answer if isinstance(item.question, str) else [{"role": "assistant", "content": answer}]


def _checked(ranking: Ranking) -> Ranking:
    count = len(ranking.ranks)
    ranks = checked_ranks(ranking.ranks, count, ranking.cannot_judge)
    return replace(ranking, ranks=ranks, flags=checked_flags(ranking.flags, count))


def _item_of(row: Row) -> Any:
    if is_task(row):
        return label_studio.item_of(row)
    return argilla.item_of(row) if is_record(row) else row.get("item")


def _rankings_of(row: Row, name: Any, store: LabelStore, rankers: Sequence[str]) -> Iterator[Ranking]:
    if not isinstance(name, str) or name not in store.items:
        raise BadData(f"is none of the {len(store.items)} items here")
    item = store.items[name]
    if is_task(row):
        return label_studio.rankings_of(row, item)
    if is_record(row):
        return argilla.rankings_of(row, item, rankers)
    return iter([ranking_of_row(row, item)])
