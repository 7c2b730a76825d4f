"""Argilla's records with a ranking question; every submitted response is a ranking.

Formats: docs.argilla.io, "Import and export datasets" (`dataset.records.to_json`), and the records of its REST API,
/api/v1/datasets/{id}/records?include=responses. What a ranking names are fields of the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..conversation import question_key, question_of
from ..jsonl import BadData, Row, field, filled_text, kind, listed
from .ranked import Rank, RankedAnswers

SUBMITTED = "submitted"


@dataclass(frozen=True)
class Response:
    """What one user answered to all questions of a record."""

    user: str
    status: str
    values: Row
    """Name of the question to its value."""

    def ranks(self) -> dict[str, int] | None:
        """Rank of each field that was ranked; 1 is the best, ties are equal. None without a ranking. Raises BadData."""
        rankings = [value for value in self.values.values() if _is_ranking(value)]
        if len(rankings) > 1:
            raise BadData(f"has {len(rankings)} rankings by one user; one is wanted")
        return {str(field(entry, "value")): _rank(entry) for entry in rankings[0]} if rankings else None


def is_record(row: Row) -> bool:
    return isinstance(row.get("fields"), dict) and "responses" in row


def rankings_of_record(row: Row) -> list[RankedAnswers]:
    """One ranking for each submitted response; drafts and discarded ones give none. Raises BadData."""
    submitted = [response for response in responses_of(row) if response.status == SUBMITTED]
    return [_ranking(row["fields"], ranks) for response in submitted if (ranks := response.ranks())]


def responses_of(row: Row) -> list[Response]:
    """Reads both forms: by question, as Argilla's Python client exports them, and by user, as its API has them.

    Raises BadData, also where the ranks are gone: the Python client exports a ranking as a list of names, in the order
    of the question's options and not of their ranks.
    """
    given = row["responses"] or []
    responses = list(_by_user(given)) if isinstance(given, list) else list(_by_question(given))
    ranked = any(_is_ranking(value) for response in responses for value in response.values.values())
    fields = row["fields"]
    for response in responses:
        for name, value in response.values.items():
            if not ranked and isinstance(value, list) and value and all(entry in fields for entry in value):
                raise BadData(
                    f"the response to {name} names fields without their ranks: Argilla's Python client leaves them "
                    "out; read the records from its API"
                )
    return responses


def _by_user(given: list[Any]) -> Iterator[Response]:
    for entry in given:
        if not isinstance(entry, dict):
            raise BadData(f"a response is {kind(entry)}; an object is wanted")
        values = {name: field(value, "value") for name, value in (entry.get("values") or {}).items()}
        yield Response(str(entry.get("user_id")), entry.get("status") or SUBMITTED, values)


def _by_question(given: Any) -> Iterator[Response]:
    if not isinstance(given, dict):
        raise BadData(f"responses is {kind(given)}; a list or an object is wanted")
    users: dict[str, dict[str, Any]] = {}
    statuses: dict[str, str] = {}
    for name, entries in given.items():
        for entry in listed(entries, f"responses.{name}"):
            if not isinstance(entry, dict):
                raise BadData(f"a response to {name} is {kind(entry)}; an object is wanted")
            user = str(entry.get("user_id"))
            users.setdefault(user, {})[name] = field(entry, "value")
            statuses[user] = entry.get("status") or SUBMITTED
    for user, values in users.items():
        yield Response(user, statuses[user], values)


def _is_ranking(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(entry, dict) and "rank" in entry for entry in value)
    )


def _rank(entry: Row) -> int:
    rank = entry["rank"]
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise BadData(f"a rank is {kind(rank)}; a whole number is wanted")
    return rank


def answers_of(fields: Row, ranked: dict[str, int]) -> dict[str, str]:
    """The answers by the name of their field: those that were ranked, and their like (answer_3 beside answer_1)."""
    unknown = [name for name in ranked if name not in fields]
    if unknown:
        raise BadData(f"the ranking names {unknown[0]}, which is no field; the fields are {', '.join(fields)}")
    stems = {_stem(name) for name in ranked}
    return {name: filled_text(text, f"fields.{name}") for name, text in fields.items() if _stem(name) in stems}


def _stem(name: str) -> str:
    return name.rstrip("0123456789")


def _ranking(fields: Row, ranked: dict[str, int]) -> RankedAnswers:
    answers = answers_of(fields, ranked)
    if len(answers) < 2:
        raise BadData(f"has {len(answers)} answers; a ranking needs 2 or more")
    places = sorted(set(ranked.values()))
    ranks: tuple[Rank, ...] = tuple(places.index(ranked[name]) if name in ranked else None for name in answers)
    others = [name for name in fields if name not in answers]
    asked = fields if question_key(fields) or len(others) != 1 else {"question": fields[others[0]]}
    return RankedAnswers(question_of(asked), tuple(answers.values()), ranks)
