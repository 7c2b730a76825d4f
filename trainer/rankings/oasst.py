"""Open Assistant's message trees: every set of assistant replies is a ranking.

Format: github.com/LAION-AI/Open-Assistant, oasst-data/README.md, "Message Trees" (*.trees.jsonl.gz). Rank 0 is
the best; replies that nobody ranked have null.
"""

from __future__ import annotations

from typing import Any

from rewardplane.wire import ChatMessage

from ..conversation import message
from ..jsonl import BadData, Row, field, filled_text, kind, listed
from .ranked import Rank, RankedAnswers


def is_tree(row: Row) -> bool:
    return "message_tree_id" in row and "prompt" in row


def rankings_of_tree(row: Row) -> list[RankedAnswers]:
    """One ranking for each message with two or more assistant replies, asked with all messages before it.

    Deleted replies are left out with what follows them. Raises BadData.
    """
    rankings = []
    waiting: list[tuple[tuple[ChatMessage, ...], Any]] = [((), field(row, "prompt"))]
    while waiting:
        before, node = waiting.pop()
        conversation = (*before, message(node, "a message"))
        replies = [reply for reply in listed(node.get("replies") or [], "replies") if not _is_deleted(reply)]
        waiting += [(conversation, reply) for reply in reversed(replies)]
        answers = [reply for reply in replies if reply.get("role") == "assistant"]
        if len(answers) >= 2:
            texts = tuple(filled_text(field(answer, "text"), "a reply's text") for answer in answers)
            rankings.append(RankedAnswers(conversation, texts, tuple(_rank(answer) for answer in answers)))
    return rankings


def _is_deleted(reply: Any) -> bool:
    if not isinstance(reply, dict):
        raise BadData(f"a reply is {kind(reply)}; a message is wanted")
    return bool(reply.get("deleted"))


def _rank(answer: Row) -> Rank:
    rank = answer.get("rank")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int)):
        raise BadData(f"a reply's rank is {kind(rank)}; a whole number or null is wanted")
    return rank
