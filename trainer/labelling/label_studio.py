"""Tasks for Label Studio with its Ranker tag, and what people said there.

Formats: labelstud.io/tags/ranker, labelstud.io/tags/choices, labelstud.io/guide/task_format. Each place of the order is
a bucket, so that answers can tie; flags are choices beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..jsonl import BadData, Row, field, items, kind, listed
from ..rankings.label_studio import UNSORTED, places_of, texts_of
from .items import MOST, Item, as_row
from .ranking import FLAGS, Ranking
from .shuffled import named_answers, own_places, same_question

RANK, ANSWERS = "rank", "answers"
"""Names of the tags in LABELLING_INTERFACE, and the task's key for the answers."""


def labelling_interface() -> str:
    """The project's labelling interface, to be pasted into its settings."""
    buckets = "\n".join(
        f'    <Bucket name="place-{n}" title="{n}{" (best)" if n == 1 else ""}"/>' for n in range(1, MOST + 1)
    )
    choices = " ".join(f'<Choice value="{n}"/>' for n in range(1, MOST + 1))
    flags = "\n".join(
        f'  <Header value="{flag.capitalize()} answers" size="5"/>\n'
        f'  <Choices name="{flag}" toName="{ANSWERS}" choice="multiple" showInline="true">{choices}</Choices>'
        for flag in FLAGS
    )
    return (
        "<View>\n"
        '  <Paragraphs name="dialogue" value="$dialogue" nameKey="role" textKey="content" layout="dialogue"/>\n'
        f'  <List name="{ANSWERS}" value="${ANSWERS}" title="Answers"/>\n'
        f'  <Ranker name="{RANK}" toName="{ANSWERS}">\n{buckets}\n  </Ranker>\n{flags}\n</View>\n'
    )


def tasks(all_items: Sequence[Item], rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """One task for each item, with an annotation for each of its rankings."""
    return [_task(item, [ranking for ranking in rankings if ranking.item == item.id]) for item in all_items]


def item_of(row: Row) -> Any:
    return row["data"].get("item")


def rankings_of(row: Row, item: Item) -> Iterator[Ranking]:
    """What the annotations of a task say about the item. Raises BadData."""
    same_question(item, row["data"])
    places = own_places(item, {str(name): text for name, text in texts_of(row["data"])[1].items()})
    for annotation in items(row, "annotations"):
        if not isinstance(annotation, dict):
            raise BadData(f"an annotation is {kind(annotation)}; an object is wanted")
        results = [result for result in listed(annotation.get("result") or [], "result") if isinstance(result, dict)]
        yield _ranking(annotation, {str(result.get("from_name")): result for result in results}, item, places)


def _task(item: Item, rankings: Sequence[Ranking]) -> dict[str, Any]:
    row = as_row(item)
    question = row["question"]
    listed_answers = [
        {"id": name, "title": f"Answer {name}", "body": item.answers[own]} for name, own in named_answers(item)
    ]
    dialogue = [{"role": "user", "content": question}] if isinstance(question, str) else question
    data = {"item": item.id, "prompt": question, "dialogue": dialogue, ANSWERS: listed_answers}
    return {"data": data, "annotations": [_annotation(item, ranking) for ranking in rankings]}


def _annotation(item: Item, ranking: Ranking) -> dict[str, Any]:
    buckets: dict[str, list[str]] = {}
    for name, own in named_answers(item):
        rank = ranking.ranks[own]
        buckets.setdefault(UNSORTED if rank is None else f"place-{rank + 1}", []).append(name)
    results = [_result(RANK, "ranker", dict(sorted(buckets.items())), ranking.ranker)]
    for flag in FLAGS:
        flagged = [name for name, own in named_answers(item) if flag in ranking.flags[own]]
        results += [_result(flag, "choices", flagged, ranking.ranker)] if flagged else []
    return {"result": results, "was_cancelled": ranking.cannot_judge, "lead_time": ranking.seconds}


def _result(name: str, kind_of: str, value: Any, ranker: str) -> dict[str, Any]:
    about = {"id": name, "from_name": name, "to_name": ANSWERS, "type": kind_of, "value": {kind_of: value}}
    return {**about, "meta": {"text": [ranker]}}  # a result's own note: users of Label Studio are not our rankers


def _ranking(annotation: Row, results: dict[str, Any], item: Item, places: dict[str, int]) -> Ranking:
    ranks: list[int | None] = [None] * len(item.answers)
    flags: list[tuple[str, ...]] = [()] * len(item.answers)
    for rank, names in enumerate(places_of(field(results[RANK], "value")) if RANK in results else []):
        for name in names:
            ranks[_place(places, name)] = rank
    for flag in FLAGS:
        for name in items(field(results[flag], "value"), "choices") if flag in results else []:
            flags[_place(places, name)] += (flag,)
    cancelled = bool(annotation.get("was_cancelled"))
    seconds = float(annotation.get("lead_time") or 0)
    return Ranking(item.id, _ranker(annotation, results), tuple(ranks), tuple(flags), seconds, cancelled)


def _place(places: dict[str, int], name: Any) -> int:
    if str(name) not in places:
        raise BadData(f"the order names {kind(name)}, which is no answer; they are {', '.join(places)}")
    return places[str(name)]


def _ranker(annotation: Row, results: dict[str, Any]) -> str:
    for result in results.values():
        noted = (result.get("meta") or {}).get("text")
        if noted:
            return str(noted[0])
    who = annotation.get("completed_by")
    if isinstance(who, dict) and who.get("email"):
        return str(who["email"])
    return f"label-studio:{who.get('id') if isinstance(who, dict) else who}"
