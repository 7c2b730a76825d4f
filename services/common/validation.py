"""What a request may hold. All of it is checked before any of it is computed, and every bad pair is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.encoding import PairEncoder, UnencodablePair
from rewardplane.wire import ChatPair, MalformedPair, Pair, Question, TextPair, TokenPair

from . import faults

Ids = NDArray[np.int32]
Encoded = TypeVar("Encoded")

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-4, 1e4
"""Logits over less overflow float32, and NaN is what the model would be blamed for; over more, all tokens are alike."""


def encode_pairs(pairs: Sequence[Pair | MalformedPair], encoder: PairEncoder, max_pair_tokens: int) -> list[TokenPair]:
    """Token ids of every pair. Raises InvalidFields with one violation for each pair that is malformed
    already, cannot be encoded, or is too long."""

    def encode(pair: Pair) -> TokenPair:
        encoded = encoder.encode(pair)
        n = len(encoded.question_ids) + len(encoded.answer_ids)
        if n > max_pair_tokens:
            raise UnencodablePair(f"has {n} tokens; at most {max_pair_tokens} are accepted (ModelInfo.max_pair_tokens)")
        return encoded

    return _encode_all("pairs", pairs, encode)


def encode_questions(
    questions: Sequence[Question | MalformedPair],
    encoder: PairEncoder,
    max_pair_tokens: int,
    max_answer_tokens: int,
) -> list[Ids]:
    """Token ids of every question, with room for the answer. Raises InvalidFields as `encode_pairs`."""

    def encode(question: Question) -> Ids:
        if isinstance(question, np.ndarray):
            # A question's ids are checked as those of a pair; its own first token stands in for an answer.
            ids = encoder.encode(TokenPair(question, question[:1])).question_ids
        else:
            ids = encoder.encode_question(question)
        if len(ids) + max_answer_tokens > max_pair_tokens:
            raise UnencodablePair(
                f"has {len(ids)} tokens and max_answer_tokens is {max_answer_tokens}; together at most "
                f"{max_pair_tokens} are accepted (ModelInfo.max_pair_tokens)"
            )
        return ids

    return _encode_all("questions", questions, encode)


def _encode_all(field: str, given: Sequence[Any], encode: Callable[[Any], Encoded]) -> list[Encoded]:
    encoded: list[Encoded] = []
    violations: list[faults.Violation] = []
    for i, one in enumerate(given):
        try:
            if isinstance(one, MalformedPair):
                raise one
            encoded.append(encode(one))
        except (MalformedPair, UnencodablePair) as error:
            violations.append((f"{field}[{i}]", str(error)))
    if violations:
        raise faults.InvalidFields(violations, reason=f"INVALID_{field.upper()}")
    return encoded


def text_length(given: Sequence[object]) -> int:
    """Characters of the texts among pairs or questions; 0 when all are token ids."""
    return sum(_characters(one) for one in given)


def _characters(one: object) -> int:
    match one:
        case str():
            return len(one)
        case TextPair():
            return len(one.question) + len(one.answer)
        case ChatPair():
            return _characters(one.messages) + len(one.answer)
        case tuple():
            return sum(len(message.role) + len(message.content) for message in one)
    return 0


def check_count(field: str, n: int, limit: int) -> None:
    """Raises InvalidFields (TOO_MANY_PAIRS)."""
    if n > limit:
        raise faults.invalid_field(
            field,
            f"makes {n} pairs; at most {limit} are accepted in a request (ModelInfo.max_request_pairs): split it",
            reason="TOO_MANY_PAIRS",
        )


def check_temperature(temperature: float, *, greedy_is_allowed: bool = False) -> None:
    """Raises InvalidFields (INVALID_TEMPERATURE)."""
    if MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE or (greedy_is_allowed and temperature == 0):
        return
    allowed = f"{'0 (greedy), or ' if greedy_is_allowed else ''}from {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}"
    raise faults.invalid_field("temperature", f"is {temperature:g}; it must be {allowed}", reason="INVALID_TEMPERATURE")


def check_at_least_one(field: str, value: int) -> None:
    """Raises InvalidFields (INVALID_COUNT)."""
    if value < 1:
        raise faults.invalid_field(field, f"is {value}; it must be at least 1", reason="INVALID_COUNT")
