"""Records for Argilla with a ranking question, and what people said there.

Format: docs.argilla.io, "Import and export datasets" (`dataset.records.from_json`). Fields `prompt` and `answer_1` to
`answer_K`; questions `ranking`, `harmful` and `nonsense`, whose options are the answers' fields.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..jsonl import BadData, Row
from ..rankings.argilla import SUBMITTED, Response, responses_of
from .items import Item, as_row
from .ranking import FLAGS, Ranking
from .shuffled import named_answers, own_places, same_question

RANKING = "ranking"
ANSWER = "answer_"
DISCARDED = "discarded"
_USERS = uuid.UUID("5b1d3c5e-4c0b-4b7e-9d53-0d1f7b6f8a11")


def records(items: Sequence[Item], rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """One record for each item, with the responses of those who ranked it. Raises BadData.

    A data set of Argilla has one number of answers, since the options of its question are fixed.
    """
    counts = sorted({len(item.answers) for item in items})
    if len(counts) > 1:
        told = ", ".join(map(str, counts))
        raise BadData(f"items have {told} answers, and a data set of Argilla one number of them: choose by --answers")
    return [_record(item, [ranking for ranking in rankings if ranking.item == item.id]) for item in items]


def user_id(ranker: str) -> str:
    """Argilla's users have UUIDs: a ranker's is made of the name."""
    return str(uuid.uuid5(_USERS, ranker))


def item_of(row: Row) -> Any:
    """The API calls it `external_id`, and `id` what is its own."""
    return row.get("external_id") or row.get("id")


def rankings_of(row: Row, item: Item, rankers: Iterable[str] = ()) -> Iterator[Ranking]:
    """What the responses to a record say about the item; users that are one of `rankers` get their name back.

    Raises BadData.
    """
    same_question(item, row["fields"])
    texts = {name: text for name, text in row["fields"].items() if name.startswith(ANSWER)}
    places = own_places(item, texts)
    known = {user_id(ranker): ranker for ranker in rankers}
    for response in responses_of(row):
        if response.status in (SUBMITTED, DISCARDED):
            yield _ranking(response, item, places, known.get(response.user, f"argilla:{response.user}"))


def _record(item: Item, rankings: Sequence[Ranking]) -> dict[str, Any]:
    answers = {f"{ANSWER}{name}": item.answers[own] for name, own in named_answers(item)}
    responses: dict[str, list[dict[str, Any]]] = {}
    for ranking in rankings:
        by = {
            "user_id": user_id(ranking.ranker),
            "status": DISCARDED if ranking.cannot_judge else SUBMITTED,
        }
        for name, value in _values(item, ranking).items():
            responses.setdefault(name, []).append({"value": value, **by})
    return {
        "id": item.id,
        "fields": {"prompt": as_row(item)["question"], **answers},
        "metadata": {},
        "suggestions": {},
        "responses": responses,
        "vectors": {},
    }


def _values(item: Item, ranking: Ranking) -> dict[str, Any]:
    ranked = [
        {"value": f"{ANSWER}{name}", "rank": rank + 1}
        for name, own in named_answers(item)
        if (rank := ranking.ranks[own]) is not None
    ]
    values: dict[str, Any] = {RANKING: ranked or None}
    for flag in FLAGS:
        flagged = [f"{ANSWER}{name}" for name, own in named_answers(item) if flag in ranking.flags[own]]
        values |= {flag: flagged} if flagged else {}
    return values


def _ranking(response: Response, item: Item, places: dict[str, int], ranker: str) -> Ranking:
    ranks: list[int | None] = [None] * len(item.answers)
    flags: list[tuple[str, ...]] = [()] * len(item.answers)
    for name, rank in (response.ranks() or {}).items():
        ranks[_place(places, name)] = rank
    for flag in FLAGS:
        for name in response.values.get(flag) or []:
            flags[_place(places, name)] += (flag,)
    discarded = response.status == DISCARDED
    return Ranking(item.id, ranker, tuple(ranks), tuple(flags), 0.0, discarded)


def _place(places: dict[str, int], name: str) -> int:
    if name not in places:
        raise BadData(f"the ranking names {name}, which is no answer; they are {', '.join(places)}")
    return places[name]
