"""What the trainers read: demonstrations, ranked answers, prompts and texts, as JSON Lines.

A file is read and checked whole before anything uses it, so that a bad line stops a run before it starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardplane.wire import ChatMessage, ChatPair, Pair, TextPair

from .jsonl import BadData as BadData
from .jsonl import Row, field, filled_text, items, kind, read_rows, text

Question = str | tuple[ChatMessage, ...]
"""A text, or a conversation up to the message to be answered."""

Rank = int | None
"""0 is the best, ties are equal, gaps are allowed; None is unknown."""


@dataclass(frozen=True)
class Demonstration:
    """A question and the answer to imitate."""

    question: Question
    answer: str


@dataclass(frozen=True)
class RankedAnswers:
    """A question and K answers in the order that people gave them."""

    question: Question
    answers: tuple[str, ...]  # K >= 2
    ranks: tuple[Rank, ...]  # K


def read_demonstrations(path: Path | str) -> list[Demonstration]:
    """Reads {"question": text or messages, "answer": text}. Raises BadData."""
    return read_rows(path, _demonstration)


def read_ranked(path: Path | str) -> list[RankedAnswers]:
    """Reads rankings in three forms, which a file may mix. Raises BadData.

    {"question", "answers": [...], "ranks": [0 is best, null is unknown]}
    {"question", "answers": [...], "ratings": [higher is better, null is unknown]}
    {"question", "chosen": text, "rejected": text}; without a question, chosen and rejected are conversations
    that differ in their last message only
    """
    return read_rows(path, _ranked)


def read_prompts(path: Path | str) -> list[Question]:
    """Reads {"question": text or messages}. Raises BadData."""
    return read_rows(path, lambda row: _question(row, "question"))


def read_texts(path: Path | str) -> list[str]:
    """Reads {"text": text}. Raises BadData."""
    return read_rows(path, lambda row: filled_text(field(row, "text"), "text"))


def to_pair(question: Question, answer: str) -> Pair:
    return TextPair(question, answer) if isinstance(question, str) else ChatPair(question, answer)


def _demonstration(row: Row) -> Demonstration:
    return Demonstration(_question(row, "question"), filled_text(field(row, "answer"), "answer"))


def _ranked(row: Row) -> RankedAnswers:
    given = [key for key in ("ranks", "ratings", "chosen") if key in row]
    if len(given) != 1:
        raise BadData(f"has {' and '.join(given) or 'none'} of ranks, ratings and chosen; one is wanted")
    if given == ["chosen"]:
        return _chosen_and_rejected(row)
    question = _question(row, "question")
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


def _chosen_and_rejected(row: Row) -> RankedAnswers:
    chosen, rejected = field(row, "chosen"), field(row, "rejected")
    if "question" in row:
        answers = (filled_text(chosen, "chosen"), filled_text(rejected, "rejected"))
        return RankedAnswers(_question(row, "question"), answers, (0, 1))
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise BadData("has no question; only conversations can go without one")
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise BadData("has no question, and chosen and rejected do not share all messages but the last")
    answers = (_last_content(chosen, "chosen"), _last_content(rejected, "rejected"))
    return RankedAnswers(_messages(chosen[:-1], "chosen"), answers, (0, 1))


def _last_content(messages: Sequence[Any], name: str) -> str:
    return filled_text(_message(messages[-1], f"{name}[-1]").content, f"{name}[-1].content")


def _question(row: Row, key: str) -> Question:
    value = field(row, key)
    if isinstance(value, str):
        return text(value, key)
    if not isinstance(value, list) or not value:
        raise BadData(f"{key} is {kind(value)}; a text or a list of messages is wanted")
    return _messages(value, key)


def _messages(values: Sequence[Any], name: str) -> tuple[ChatMessage, ...]:
    return tuple(_message(value, f"{name}[{i}]") for i, value in enumerate(values))


def _message(value: Any, name: str) -> ChatMessage:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise BadData(f'{name} is {kind(value)}; {{"role": text, "content": text}} is wanted')
    return ChatMessage(text(value["role"], f"{name}.role"), text(value["content"], f"{name}.content"))
