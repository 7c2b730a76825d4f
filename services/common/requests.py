"""Reads what the requests of rewardplane.v1 have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rewardplane.v1 import generation_service_pb2, types_pb2
from rewardplane.wire import MalformedPair, Pair, Question, pair_from_proto, question_from_proto

from .pins import Pins


class Pinned(Protocol):
    """A request that may insist on weights and tokenizer."""

    expected_checkpoint_digest: str
    tokenizer_fingerprint: str


def pins_of(request: Pinned) -> Pins:
    return Pins(request.expected_checkpoint_digest, request.tokenizer_fingerprint, ids_need_fingerprint=True)


def read_pairs(messages: Iterable[types_pb2.QuestionAnswer]) -> list[Pair | MalformedPair]:
    """A pair that cannot be read becomes its error, so that it is reported with every other bad pair."""
    return [_pair(message) for message in messages]


def read_questions(messages: Iterable[generation_service_pb2.Question]) -> list[Question | MalformedPair]:
    """As `read_pairs`."""
    return [_question(message) for message in messages]


def _pair(message: types_pb2.QuestionAnswer) -> Pair | MalformedPair:
    try:
        return pair_from_proto(message)
    except MalformedPair as error:
        return error


def _question(message: generation_service_pb2.Question) -> Question | MalformedPair:
    try:
        return question_from_proto(message)
    except MalformedPair as error:
        return error
