"""What a pair that is too long loses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rewardplane.wire import TokenPair

Ids = NDArray[np.int32]

SHORTEST_QUESTION = 2
"""Tokens of a question that are kept at least: the start token and one more."""


def cut_question(
    question_ids: Ids,  # int32[Q]
    max_tokens: int,
    start_token_id: int | None,
) -> Ids:  # int32[min(Q, max_tokens)]
    """The newest tokens of a question, and its start token if it has one: the oldest matter least."""
    if len(question_ids) <= max_tokens:
        return question_ids
    starts = int(question_ids[0]) == start_token_id
    return np.concatenate([question_ids[:starts], question_ids[len(question_ids) - max_tokens + starts :]])


def fit(pair: TokenPair, max_pair_tokens: int, start_token_id: int | None) -> TokenPair:
    """Cuts the question; if that is not enough, the answer's end.

    The stop token goes with the end, so nobody learns to stop in the middle of a sentence.
    """
    room = max(max_pair_tokens - len(pair.answer_ids), SHORTEST_QUESTION)
    question = cut_question(pair.question_ids, room, start_token_id)
    answer = pair.answer_ids[: max_pair_tokens - len(question)]
    return TokenPair(question, answer)
