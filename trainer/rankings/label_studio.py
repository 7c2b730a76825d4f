"""Label Studio's JSON export of tasks with a Ranker or a Pairwise tag; every annotation is a ranking.

Formats: labelstud.io/tags/ranker, labelstud.io/tags/pairwise, labelstud.io/guide/task_format. The question is
`data.prompt`, as in its templates "LLM Ranker" and "Human Preference collection for RLHF", or `data.question`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..conversation import question_of
from ..jsonl import BadData, Row, field, filled_text, items, kind, listed
from .ranked import RankedAnswers

UNSORTED = "_"
"""The Ranker's name for items that were left in the list; whether they are worse nobody said."""

PLACE = re.compile(r"place-([1-9][0-9]*)")
"""Buckets of these names are places, the first the best, and what shares one ties."""

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
    places = places_of(value)
    return _of_items(data, places) if places else None


def places_of(value: Row) -> list[list[Any]]:
    """Ids of the items at each place of a Ranker's result, best first. Raises BadData.

    It is a list, or has one bucket that the items were sorted into, or buckets that are places.
    """
    ranker = field(value, "ranker")
    if not isinstance(ranker, dict):
        return [[item] for item in listed(ranker, "value.ranker")]
    buckets = {name: listed(ids, f"value.ranker.{name}") for name, ids in ranker.items() if name != UNSORTED}
    numbers = {name: int(match[1]) for name in buckets if (match := PLACE.fullmatch(name))}
    if len(numbers) == len(buckets):
        return [buckets[name] for name in sorted(buckets, key=lambda name: numbers[name]) if buckets[name]]
    if len(buckets) > 1:
        told = f"value.ranker has the buckets {', '.join(buckets)}"
        raise BadData(f"{told}; which is better is not said: use one, or place-1, place-2, ...")
    return [[item] for ids in buckets.values() for item in ids]


def _of_items(data: Row, places: Sequence[Sequence[Any]]) -> RankedAnswers:
    key, texts = texts_of(data)
    order = [item for place in places for item in place]
    unknown = [item for item in order if not isinstance(item, str | int) or item not in texts]
    if unknown or len(set(order)) != len(order):
        raise BadData(f"value.ranker is no order of the ids in data.{key}: {kind(order)}")
    if len(texts) < 2:
        raise BadData(f"data.{key} has {len(texts)} items; a ranking needs 2 or more")
    rank = {item: number for number, place in enumerate(places) for item in place}
    return RankedAnswers(question_of(data), tuple(texts.values()), tuple(rank.get(item) for item in texts))


def texts_of(data: Row) -> tuple[str, dict[Any, str]]:
    """The key of a task's one list of items, and their texts by id. Raises BadData."""
    lists = [key for key, value in data.items() if _are_items(value)]
    if len(lists) != 1:
        raise BadData(f'data has {len(lists)} lists of {{"id", "body"}}; one is wanted')
    key = lists[0]
    texts = {item["id"]: _body(item, f"data.{key}[{i}]") for i, item in enumerate(data[key])}
    if len(texts) < len(data[key]):
        raise BadData(f"data.{key} has one id twice")
    return key, texts


def _are_items(value: Any) -> bool:
    each = value if isinstance(value, list) else []
    return bool(each) and all(isinstance(item, dict) and isinstance(item.get("id"), str | int) for item in each)


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
