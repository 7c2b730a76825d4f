"""Chosen and rejected: the forms of TRL's preference data and of Anthropic's HH files."""

from __future__ import annotations

from typing import Any

from ..conversation import Question, message, messages, question_key, question_of
from ..jsonl import BadData, Row, filled_text, kind
from .ranked import RankedAnswers

ASSISTANT_TURN = "\n\nAssistant:"
"""What an answer follows in HH's conversations."""


def ranking_of_pair(
    chosen: Any,  # text or messages
    rejected: Any,  # the same kind
    row: Row,
) -> RankedAnswers:
    """A ranking of two. Raises BadData.

    With a question, both are answers, or conversations that begin with it. Without one, both are conversations:
    messages that differ in the last one only, or HH's texts, which share all up to an assistant's turn.
    """
    kinds = {type(value) for value in (chosen, rejected)}
    if kinds == {str}:
        if question_key(row) is None:
            question, answers = _dialogues(chosen, rejected)
        else:
            question, answers = question_of(row), (chosen, rejected)
    elif kinds == {list}:
        question, answers = _conversations(chosen, rejected, row)
    else:
        told = f"chosen is {kind(chosen)} and rejected {kind(rejected)}"
        raise BadData(f"{told}; two texts or two lists of messages are wanted")
    filled_text(answers[0], "chosen"), filled_text(answers[1], "rejected")
    return RankedAnswers(question, answers, (0, 1))


def _dialogues(chosen: str, rejected: str) -> tuple[Question, tuple[str, str]]:
    differ = (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    shared = next(differ, min(len(chosen), len(rejected)))
    turn = chosen.rfind(ASSISTANT_TURN, 0, shared)
    if turn < 0:
        raise BadData(f"has no question, and chosen and rejected share no text up to {ASSISTANT_TURN!r}")
    start = turn + len(ASSISTANT_TURN)
    return chosen[:start], (chosen[start:], rejected[start:])


def _conversations(chosen: list[Any], rejected: list[Any], row: Row) -> tuple[Question, tuple[str, str]]:
    if not chosen or chosen[:-1] != rejected[:-1]:
        raise BadData("chosen and rejected do not share all messages but the last")
    answers = (message(chosen[-1], "chosen[-1]").content, message(rejected[-1], "rejected[-1]").content)
    shared = messages(chosen[:-1], "chosen")
    if question_key(row) is None:
        if not shared:
            raise BadData("has no question, and chosen and rejected have one message each")
        return shared, answers
    question = question_of(row)
    asked = question if isinstance(question, str) else question[-1].content
    if shared and shared != question and shared[-1].content != asked:
        raise BadData("has a question, and chosen and rejected are conversations that do not end with it")
    return shared or question, answers
