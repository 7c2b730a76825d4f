"""The shapes in which callers may write pairs and questions, and their one meaning on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from rewardplane.errors import InvalidRequest
from rewardplane.wire import (
    ChatMessage,
    ChatPair,
    MalformedArray,
    MalformedPair,
    Pair,
    Question,
    TextPair,
    TokenPair,
    as_ids,
)

MessageLike = ChatMessage | Mapping[str, str]
PairLike = Pair | tuple[str, str] | tuple[Sequence[MessageLike], str]
QuestionLike = str | Sequence[int] | NDArray[np.integer[Any]] | Sequence[MessageLike]

T = TypeVar("T")
Message = TypeVar("Message")

_PAIR_FORMS = "a TokenPair, TextPair, ChatPair, (text, answer) or ([{'role': ..., 'content': ...}], answer)"

_MOST_LISTED = 8  # in a message; `bad_pairs` has them all


def as_pair(pair: PairLike) -> Pair:
    """Gives the pair that was meant. Raises MalformedPair when nothing can have been."""
    if isinstance(pair, (TokenPair, TextPair, ChatPair)):
        return pair
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise MalformedPair(f"is {_name(pair)}; wanted is {_PAIR_FORMS}")
    question, answer = pair
    if isinstance(question, str):
        return TextPair(question, answer)
    if isinstance(question, (list, tuple)):
        return ChatPair(_as_messages(question), answer)
    raise MalformedPair(f"has a question of type {_name(question)}; wanted is {_PAIR_FORMS}")


def as_question(question: QuestionLike) -> Question:
    """Gives the question that was meant: text, int32[Q] or messages. Raises MalformedPair, MalformedArray."""
    if isinstance(question, str):
        return question
    if isinstance(question, Sequence) and question and isinstance(question[0], (ChatMessage, Mapping)):
        return _as_messages(cast("Sequence[MessageLike]", question))
    return as_ids(cast("Sequence[int]", question))


def messages_of(
    items: Iterable[T],
    convert: Callable[[T], Message],
    noun: str,  # "pairs" or "questions"
) -> list[Message]:
    """Converts every item, or raises one InvalidRequest that names the bad ones, as a server would."""
    messages: list[Message] = []
    bad: list[tuple[int, str]] = []
    for i, item in enumerate(items):
        try:
            messages.append(convert(item))
        except (MalformedPair, MalformedArray) as error:
            bad.append((i, str(error)))
    if bad:
        listed = "; ".join(f"{noun}[{i}]: {what}" for i, what in bad[:_MOST_LISTED])
        more = f"; and {len(bad) - _MOST_LISTED} more" if len(bad) > _MOST_LISTED else ""
        raise InvalidRequest(listed + more, bad_pairs=tuple(bad), reason=f"INVALID_{noun.upper()}")
    return messages


def _as_messages(messages: Sequence[MessageLike]) -> tuple[ChatMessage, ...]:
    return tuple(_as_message(m, i) for i, m in enumerate(messages))


def _as_message(message: MessageLike, i: int) -> ChatMessage:
    if isinstance(message, ChatMessage):
        return message
    if not isinstance(message, Mapping):
        raise MalformedPair(f"messages[{i}] is {_name(message)}; wanted is {{'role': ..., 'content': ...}}")
    if set(message) != {"role", "content"}:
        # A dropped key ("name", "tool_calls") would change what is scored without a word.
        raise MalformedPair(f"messages[{i}] has the keys {sorted(message)}; wanted are role and content")
    return ChatMessage(message["role"], message["content"])


def _name(value: object) -> str:
    return type(value).__name__
