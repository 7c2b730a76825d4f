"""Which form a row has, and our own: {"question", "answers", "ranks" or "ratings"}."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..conversation import question_of
from ..jsonl import BadData, Row, field, filled_text, items, kind
from .argilla import is_record, rankings_of_record
from .label_studio import is_task, rankings_of_task
from .oasst import is_tree, rankings_of_tree
from .pairs import ranking_of_pair
from .ranked import Rank, RankedAnswers


def rankings_of(row: Row) -> list[RankedAnswers]:
    """Reads a row of any form; trees, exported tasks and records give any number of rankings. Raises BadData."""
    if is_tree(row):
        rankings = rankings_of_tree(row)
    elif is_task(row):
        rankings = rankings_of_task(row)
    elif is_record(row):
        rankings = rankings_of_record(row)
    else:
        rankings = [_ranking(row)]
    labels = {key: row[key] for key in ("source", "split") if isinstance(row.get(key), str)}
    return [replace(ranking, **labels) for ranking in rankings]


def _ranking(row: Row) -> RankedAnswers:
    given = [key for key in ("ranks", "ratings", "chosen") if key in row]
    if len(given) != 1:
        raise BadData(f"has {' and '.join(given) or 'none'} of ranks, ratings and chosen; one is wanted")
    if given == ["chosen"]:
        return ranking_of_pair(field(row, "chosen"), field(row, "rejected"), row)
    question = question_of(row)
    answers = items(row, "answers")
    if len(answers) < 2:
        raise BadData(f"has {len(answers)} answers; a ranking needs 2 or more")
    texts = tuple(filled_text(answer, f"answers[{i}]") for i, answer in enumerate(answers))
    values = items(row, given[0])
    if len(values) != len(texts):
        raise BadData(f"has {len(values)} {given[0]} for {len(texts)} answers; null stands for unknown")
    return RankedAnswers(question, texts, _as_ranks(values) if given == ["ranks"] else _from_ratings(values))


def _as_ranks(values: Sequence[Any]) -> tuple[Rank, ...]:
    for i, value in enumerate(values):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise BadData(f"ranks[{i}] is {kind(value)}; a whole number or null is wanted")
    return tuple(values)


def _from_ratings(values: Sequence[Any]) -> tuple[Rank, ...]:
    for i, value in enumerate(values):
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not is_number:
            raise BadData(f"ratings[{i}] is {kind(value)}; a finite number or null is wanted")
    best_first = sorted({value for value in values if value is not None}, reverse=True)
    return tuple(None if value is None else best_first.index(value) for value in values)
