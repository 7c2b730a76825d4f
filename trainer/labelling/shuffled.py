"""Items as another tool shows them: the answers in an order that tells nothing of where they come from."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from ..conversation import question_of
from ..jsonl import BadData, Row, kind
from .items import Item


def shown_order(item: Item) -> list[int]:
    """Own places in the order in which the item is shown; the same each time."""
    order = list(range(len(item.answers)))
    random.Random(f"shown {item.id}").shuffle(order)
    return order


def named_answers(item: Item) -> Iterator[tuple[str, int]]:
    """Name ("1", "2", ...) and own place of each answer, as shown."""
    for number, own in enumerate(shown_order(item), 1):
        yield str(number), own


def same_question(item: Item, asked: Row) -> None:
    """Raises BadData where what came back asks something else."""
    if question_of(asked) != item.question:
        raise BadData(f"asks {kind(asked.get('prompt'))}, and the item something else")


def own_places(item: Item, texts: Mapping[str, str]) -> dict[str, int]:
    """Own place of each answer that came back, by its name there. Raises BadData where it is another answer."""
    places = {}
    for name, text in texts.items():
        if text not in item.answers:
            raise BadData(f"answer {name} is none of the item's: {text[:60]!r}")
        places[name] = item.answers.index(text)
    if len(set(places.values())) != len(item.answers):
        raise BadData(f"has {len(set(places.values()))} of the item's {len(item.answers)} answers")
    return places
