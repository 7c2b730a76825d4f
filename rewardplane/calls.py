"""What a client says and understands, without any IO.

Each call is a generator: it yields the requests to send, is sent their replies in the same order (or has the
failure thrown in), and returns the caller's result. `Client` and `AsyncClient` differ in how they carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import numpy as np

from rewardplane.batches import (
    GET_MODEL_INFO,
    Batch,
    GenerationBatch,
    LogprobBatch,
    Pins,
    ScoreBatch,
    Send,
)
from rewardplane.errors import InvalidRequest, MessageTooLarge
from rewardplane.inputs import PairLike, QuestionLike, as_pair, as_question, messages_of
from rewardplane.replies import Reply, read_info, read_version
from rewardplane.results import Generations, Logprobs, ModelInfo, ModelVersion, Scores
from rewardplane.v1 import model_service_pb2, types_pb2
from rewardplane.wire import pair_to_proto, question_to_proto

R = TypeVar("R")
Steps = Generator[list[Send], Sequence[Reply], R]


class Calls:
    """The calls of one client, and what it knows of its server."""

    def __init__(self, tokenizer_fingerprint: str | None) -> None:
        self._given_fingerprint = tokenizer_fingerprint
        self._seen_fingerprint: str | None = None
        self._info: ModelInfo | None = None

    def info(self) -> Steps[ModelInfo]:
        info = yield from self._fetch_info()
        # Who asks for this can encode for the tokenizer that answers: token ids are pinned to it from now on.
        self._seen_fingerprint = info.tokenizer_fingerprint
        return info

    def score(self, pairs: Iterable[PairLike], expected_checkpoint_digest: str | None) -> Steps[Scores]:
        batch = ScoreBatch(_pairs(pairs))
        if not len(batch):
            return Scores(np.empty(0, np.float32), ModelVersion())
        return (yield from self._send(batch, expected_checkpoint_digest))

    def logprobs(
        self, pairs: Iterable[PairLike], temperature: float, expected_checkpoint_digest: str | None
    ) -> Steps[Logprobs]:
        batch = LogprobBatch(_pairs(pairs), temperature)
        if not len(batch):
            return Logprobs([], ModelVersion())
        return (yield from self._send(batch, expected_checkpoint_digest))

    def generate(
        self,
        questions: Iterable[QuestionLike],
        answers_per_question: int,
        max_answer_tokens: int,
        temperature: float,
        seed: int | None,
        expected_checkpoint_digest: str | None,
    ) -> Steps[Generations]:
        protos = messages_of(questions, lambda q: question_to_proto(as_question(q)), "questions")
        batch = GenerationBatch(protos, answers_per_question, max_answer_tokens, temperature, seed)
        if not len(batch):
            return Generations((), ModelVersion())
        return (yield from self._send(batch, expected_checkpoint_digest))

    def _send(self, batch: Batch[R], expected_checkpoint_digest: str | None) -> Steps[R]:
        expected = expected_checkpoint_digest or ""
        info = known = self._info
        if info is None:
            info = yield from self._fetch_info()
        pins = Pins(expected, self._fingerprint(batch, info))
        try:
            sends = batch.sends(info, pins)
            replies = yield sends
        except (InvalidRequest, MessageTooLarge) as error:
            # The limits may be those of a server that is gone; if the present one has others, cut again.
            if known is None or not _is_about_limits(error):
                raise
            info = yield from self._fetch_info()
            if _limits(info) == _limits(known):
                raise
            sends = batch.sends(info, pins)
            replies = yield sends
        version = read_version(replies, expected)
        if version.checkpoint_digest != info.model_version.checkpoint_digest:
            self._info = None  # the server was replaced: ask for its limits before the next call
        return batch.result(sends, replies, version)

    def _fetch_info(self) -> Steps[ModelInfo]:
        (reply,) = yield [Send(GET_MODEL_INFO, model_service_pb2.GetModelInfoRequest())]
        self._info = read_info(reply)
        return self._info

    def _fingerprint(self, batch: Batch[R], info: ModelInfo) -> str:
        """What the token ids of a batch are pinned to.

        The tokenizer seen first stays the pin when the server is replaced: ids that were made for it must be
        refused by another one, and a fingerprint read from the new server would let them pass.
        """
        if self._given_fingerprint is not None:
            return self._given_fingerprint if batch.holds_tokens or batch.brings_tokens else ""
        if not batch.holds_tokens:
            return ""
        if self._seen_fingerprint is None:
            self._seen_fingerprint = info.tokenizer_fingerprint
        return self._seen_fingerprint


def _pairs(pairs: Iterable[PairLike]) -> list[types_pb2.QuestionAnswer]:
    convert: Callable[[PairLike], types_pb2.QuestionAnswer] = lambda pair: pair_to_proto(as_pair(pair))  # noqa: E731
    return messages_of(pairs, convert, "pairs")


def _is_about_limits(error: InvalidRequest | MessageTooLarge) -> bool:
    return isinstance(error, MessageTooLarge) or error.reason == "TOO_MANY_PAIRS"


def _limits(info: ModelInfo) -> tuple[int, int]:
    return info.max_request_pairs, info.max_request_bytes
