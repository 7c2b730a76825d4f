"""What is to be ranked: `items.jsonl` in a directory, one question and its K answers a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..conversation import Question, question_as_row, question_of
from ..jsonl import BadData, Row, filled_text, kind
from ..jsonl import field as required
from ..jsonl import items as listed_items
from ..row_files import read_placed

ITEMS = "items.jsonl"
FEWEST, MOST = 2, 9
"""Answers of one item. Nine is the most that InstructGPT ranked at once, and what a keyboard has digits for."""


@dataclass(frozen=True)
class Item:
    """One question and the answers to be put in order."""

    id: str
    question: Question
    answers: tuple[str, ...]  # K, all different
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the answers come from: models, temperatures. Whoever ranks never sees it."""

    def digest(self) -> str:
        """SHA-256 of question and answers, which must stay what they are once somebody ranked them."""
        row = as_row(self)
        content = json.dumps([row["question"], row["answers"]], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


def read_items(directory: Path | str) -> list[Item]:
    """Reads DIRECTORY/items.jsonl. Raises BadData that names every bad line."""
    path = Path(directory) / ITEMS
    placed = read_placed(path, _item)
    first: dict[str, str] = {}
    for place, item in placed:
        if item.id in first:
            raise BadData(f"{place}: item {item.id} came before, at {first[item.id]}; ids are wanted once each")
        first[item.id] = place
    return [item for _, item in placed]


def write_items(directory: Path | str, items: Iterable[Item]) -> Path:
    """Writes DIRECTORY/items.jsonl anew and gives its path."""
    path = Path(directory) / ITEMS
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(json.dumps(as_row(item), ensure_ascii=False) + "\n" for item in items)
    return path


def as_row(item: Item) -> dict[str, Any]:
    """What `read_items` reads as the same item."""
    labels = {"source": dict(item.source)} if item.source else {}
    return {"id": item.id, "question": question_as_row(item.question), "answers": list(item.answers), **labels}


def _item(row: Row) -> Item:
    name = filled_text(required(row, "id"), "id")
    try:
        texts = [filled_text(answer, f"answers[{i}]") for i, answer in enumerate(listed_items(row, "answers"))]
        if not FEWEST <= len(texts) <= MOST:
            raise BadData(f"has {len(texts)} answers; {FEWEST} to {MOST} can be ranked at once")
        if len(set(texts)) < len(texts):
            raise BadData("has one answer twice; different ones are wanted")
        source = row.get("source", {})
        if not isinstance(source, dict):
            raise BadData(f"source is {kind(source)}; an object is wanted")
        return Item(name, question_of(row), tuple(texts), source)
    except BadData as error:
        raise BadData(f"item {name}: {error}") from None
