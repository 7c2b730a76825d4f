"""Label Studio's JSON export of tasks with a Ranker or a Pairwise tag; every annotation is a ranking.

Formats: labelstud.io/tags/ranker, labelstud.io/tags/pairwise, labelstud.io/guide/task_format. The question is
`data.prompt`, as in its templates "LLM Ranker" and "Human Preference collection for RLHF", or `data.question`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conversation import question_of
from ..jsonl import BadData, Row, field, filled_text, items, kind, listed
from .ranked import RankedAnswers

UNSORTED = "_"
"""The Ranker's name for items that were left in the list; whether they are worse nobody said."""

PAIR_KEYS = (("answer1", "answer2"), ("text1", "text2"))
"""Data keys of the two answers in Label Studio's own templates, left and right."""


def is_task(row: Row) -> bool:
    return "annotations" in row and isinstance(row.get("data"), dict)


def rankings_of_task(row: Row) -> list[RankedAnswers]:
    """One ranking for each annotation that ranks; skipped and cancelled ones give none. Raises BadData."""
    rankings = []
    for annotation in items(row, "annotations"):
        if not isinstance(annotation, dict):
            raise BadData(f"an annotation is {kind(annotation)}; an object is wanted")
        if annotation.get("was_cancelled"):
            continue
        for result in listed(annotation.get("result") or [], "result"):
            if not isinstance(result, dict):
                raise BadData(f"a result is {kind(result)}; an object is wanted")
            ranking = _ranking(row["data"], result)
            rankings += [ranking] if ranking else []
    return rankings


def _ranking(data: Row, result: Row) -> RankedAnswers | None:
    value = result.get("value")
    if result.get("type") not in ("ranker", "pairwise") or not isinstance(value, dict):
        return None
    if result["type"] == "pairwise":
        return _of_two(data, str(result.get("to_name", "")), field(value, "selected"))
    order = _order(field(value, "ranker"))
    return _of_items(data, order) if order else None


def _order(ranker: Any) -> list[Any]:
    """Ids of the ranked items, best first: a list, or the one bucket that the items were sorted into."""
    if not isinstance(ranker, dict):
        return listed(ranker, "value.ranker")
    buckets = [name for name in ranker if name != UNSORTED]
    if len(buckets) > 1:
        raise BadData(f"value.ranker has the buckets {', '.join(buckets)}; which is better is not said: use one")
    return listed(ranker[buckets[0]], f"value.ranker.{buckets[0]}") if buckets else []


def _of_items(data: Row, order: Sequence[Any]) -> RankedAnswers:
    lists = [key for key, value in data.items() if _are_items(value)]
    if len(lists) != 1:
        raise BadData(f'data has {len(lists)} lists of {{"id", "body"}}; one is wanted')
    given = data[lists[0]]
    ids = [item["id"] for item in given]
    unknown = [i for i in order if i not in ids]
    if unknown or len(set(map(str, order))) != len(order):
        raise BadData(f"value.ranker is no order of the ids in data.{lists[0]}: {kind(list(order))}")
    texts = tuple(_body(item, f"data.{lists[0]}[{i}]") for i, item in enumerate(given))
    if len(texts) < 2:
        raise BadData(f"data.{lists[0]} has {len(texts)} items; a ranking needs 2 or more")
    return RankedAnswers(question_of(data), texts, tuple(order.index(i) if i in order else None for i in ids))


def _are_items(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and "id" in item for item in value)


def _body(item: Row, name: str) -> str:
    # `title` is a heading over `body` ("LLM 1"), and all that a short item has.
    key = next((key for key in ("body", "html", "title") if item.get(key)), "body")
    return filled_text(field(item, key), f"{name}.{key}")


def _of_two(data: Row, to_name: str, selected: Any) -> RankedAnswers:
    if selected not in ("left", "right"):
        raise BadData(f"value.selected is {kind(selected)}; left or right is wanted")
    named = tuple(name.strip() for name in to_name.split(","))
    keys = next((keys for keys in (named, *PAIR_KEYS) if len(keys) == 2 and all(key in data for key in keys)), None)
    if keys is None:
        raise BadData(f"data has neither {to_name} nor answer1 and answer2; its keys are {', '.join(data)}")
    texts = tuple(filled_text(data[key], f"data.{key}") for key in keys)
    return RankedAnswers(question_of(data), texts, (0, 1) if selected == "left" else (1, 0))
