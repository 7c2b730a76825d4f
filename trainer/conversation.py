"""Questions as rows give them: a text, or a conversation up to the message to be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rewardplane.wire import ChatMessage

from .jsonl import BadData, Row, field, items, kind, text

Question = str | tuple[ChatMessage, ...]
"""A text, or a conversation up to the message to be answered."""

_ROLES = {"prompter": "user"}
"""Words of other projects (Open Assistant) for those of chat templates."""


def question_of(row: Row) -> Question:
    """Reads `question`, or `prompt`, which is TRL's word for it.

    `context`, a text, goes before a question that is a text; `history`, messages, before either kind and
    makes a conversation of it. Raises BadData.
    """
    key = question_key(row) or "question"
    value = field(row, key)
    if isinstance(value, str):
        question: Question = text(value, key)
    elif isinstance(value, list) and value:
        question = messages(value, key)
    else:
        raise BadData(f"{key} is {kind(value)}; a text or a list of messages is wanted")
    if row.get("context"):
        if not isinstance(question, str):
            raise BadData(f"has a context, and {key} is a conversation; a text is wanted")
        question = f"{text(row['context'], 'context')}\n\n{question}"
    if row.get("history"):
        asked = (ChatMessage("user", question),) if isinstance(question, str) else question
        question = messages(items(row, "history"), "history") + asked
    return question


def question_as_row(question: Question) -> str | list[dict[str, str]]:
    """What `question_of` reads as the same question."""
    return question if isinstance(question, str) else [asdict(message) for message in question]


def question_key(row: Row) -> str | None:
    """The key that a row's question stands under; None where it has none."""
    if "question" in row and "prompt" in row:
        raise BadData("has question and prompt; one is wanted")
    return next((key for key in ("question", "prompt") if key in row), None)


def messages(values: Sequence[Any], name: str) -> tuple[ChatMessage, ...]:
    return tuple(message(value, f"{name}[{i}]") for i, value in enumerate(values))


def message(value: Any, name: str) -> ChatMessage:
    """Reads {"role", "content"}; Open Assistant says "text" for the content. Raises BadData."""
    key = "text" if isinstance(value, dict) and "content" not in value else "content"
    if not isinstance(value, dict) or not {"role", key} <= value.keys():
        raise BadData(f'{name} is {kind(value)}; {{"role": text, "content": text}} is wanted')
    role = text(value["role"], f"{name}.role")
    return ChatMessage(_ROLES.get(role, role), text(value[key], f"{name}.{key}"))
