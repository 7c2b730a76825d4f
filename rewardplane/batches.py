"""The three kinds of batch a client sends: how each becomes requests, and its replies one result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from rewardplane.errors import InvalidRequest
from rewardplane.replies import Reply, read_answers, read_logprobs, read_scores
from rewardplane.results import Answer, Generations, Logprobs, ModelInfo, ModelVersion, Scores
from rewardplane.splitting import split
from rewardplane.v1 import (
    generation_service_pb2,
    logprob_service_pb2,
    model_service_pb2,
    scoring_service_pb2,
    types_pb2,
)


class Rpc(NamedTuple):
    """A method of rewardplane.v1."""

    path: str
    reply: type[Message]


GET_MODEL_INFO = Rpc("/rewardplane.v1.ModelService/GetModelInfo", model_service_pb2.GetModelInfoResponse)
SCORE_ANSWERS = Rpc("/rewardplane.v1.ScoringService/ScoreAnswers", scoring_service_pb2.ScoreAnswersResponse)
COMPUTE_LOGPROBS = Rpc("/rewardplane.v1.LogprobService/ComputeLogprobs", logprob_service_pb2.ComputeLogprobsResponse)
GENERATE_ANSWERS = Rpc(
    "/rewardplane.v1.GenerationService/GenerateAnswers", generation_service_pb2.GenerateAnswersResponse
)


class Send(NamedTuple):
    """One request to be sent."""

    rpc: Rpc
    request: Any
    first_index: int = 0
    """Index, in the caller's batch, of the request's first pair or question."""


class Pins(NamedTuple):
    """What every request of a batch insists on; "" is nothing."""

    expected_checkpoint_digest: str
    tokenizer_fingerprint: str


R_co = TypeVar("R_co", covariant=True)


class Batch(Protocol[R_co]):
    """Something that may take several requests."""

    def __len__(self) -> int: ...

    @property
    def holds_tokens(self) -> bool:
        """True when any item is given as token ids, which mean nothing without their tokenizer."""

    @property
    def brings_tokens(self) -> bool:
        """True when the replies hold token ids."""

    def sends(self, info: ModelInfo, pins: Pins) -> list[Send]: ...

    def result(self, sends: Sequence[Send], replies: Sequence[Reply], version: ModelVersion) -> R_co: ...


@dataclass(frozen=True)
class _PairBatch:
    pairs: Sequence[types_pb2.QuestionAnswer]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def holds_tokens(self) -> bool:
        return any(pair.HasField("tokens") for pair in self.pairs)

    @property
    def brings_tokens(self) -> bool:
        return False


@dataclass(frozen=True)
class ScoreBatch(_PairBatch):
    def sends(self, info: ModelInfo, pins: Pins) -> list[Send]:
        empty = scoring_service_pb2.ScoreAnswersRequest(**pins._asdict())
        return list(_split_pairs(SCORE_ANSWERS, empty, self.pairs, info))

    def result(self, sends: Sequence[Send], replies: Sequence[Reply], version: ModelVersion) -> Scores:
        return Scores(read_scores([s.request for s in sends], replies), version)


@dataclass(frozen=True)
class LogprobBatch(_PairBatch):
    temperature: float

    def sends(self, info: ModelInfo, pins: Pins) -> list[Send]:
        empty = logprob_service_pb2.ComputeLogprobsRequest(temperature=self.temperature, **pins._asdict())
        return list(_split_pairs(COMPUTE_LOGPROBS, empty, self.pairs, info))

    def result(self, sends: Sequence[Send], replies: Sequence[Reply], version: ModelVersion) -> Logprobs:
        return Logprobs(read_logprobs([s.request for s in sends], replies), version)


@dataclass(frozen=True)
class GenerationBatch:
    questions: Sequence[generation_service_pb2.Question]
    answers_per_question: int
    max_answer_tokens: int
    temperature: float
    seed: int | None

    def __post_init__(self) -> None:
        if self.answers_per_question < 1:
            raise InvalidRequest(
                f"answers_per_question is {self.answers_per_question}; wanted is 1 or more",
                reason="INVALID_COUNT",
            )
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise InvalidRequest(f"seed is {self.seed}; wanted is a signed 64-bit integer", reason="INVALID_SEED")

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def holds_tokens(self) -> bool:
        return any(question.HasField("token_ids") for question in self.questions)

    @property
    def brings_tokens(self) -> bool:
        return True

    def sends(self, info: ModelInfo, pins: Pins) -> list[Send]:
        """Some questions a request; several requests a question when one may not ask for all its answers."""
        most = info.max_request_pairs or max(1, len(self)) * self.answers_per_question
        sends: list[Send] = []
        for asked in range(0, self.answers_per_question, most):
            each = min(most, self.answers_per_question - asked)
            empty = self._empty_request(each, pins)
            if self.seed is not None:
                empty.seed = -1  # no seed takes more bytes, so every request is at most as long as planned
            for part in _split(self.questions, empty, most // each, info, "questions"):
                request = self._empty_request(each, pins)
                if self.seed is not None:
                    request.seed = _request_seed(self.seed, len(sends))
                request.questions.extend(self.questions[part.start : part.stop])
                sends.append(Send(GENERATE_ANSWERS, request, part.start))
        return sends

    def result(self, sends: Sequence[Send], replies: Sequence[Reply], version: ModelVersion) -> Generations:
        answers: list[list[Answer]] = [[] for _ in self.questions]
        for send, reply in zip(sends, replies, strict=True):
            for q, group in enumerate(read_answers(send.request, reply), send.first_index):
                answers[q].extend(group)
        return Generations(tuple(map(tuple, answers)), version)

    def _empty_request(self, each: int, pins: Pins) -> generation_service_pb2.GenerateAnswersRequest:
        return generation_service_pb2.GenerateAnswersRequest(
            answers_per_question=each,
            max_answer_tokens=self.max_answer_tokens,
            temperature=self.temperature,
            seed=self.seed,
            **pins._asdict(),
        )


def _split_pairs(rpc: Rpc, empty: Any, pairs: Sequence[types_pb2.QuestionAnswer], info: ModelInfo) -> Iterator[Send]:
    for part in _split(pairs, empty, info.max_request_pairs, info, "pairs"):
        request = type(empty)()
        request.CopyFrom(empty)
        request.pairs.extend(pairs[part.start : part.stop])
        yield Send(rpc, request, part.start)


def _split(items: Sequence[Message], empty: Message, max_items: int, info: ModelInfo, noun: str) -> list[range]:
    return split(
        [item.ByteSize() for item in items],
        max_items=max_items,
        max_bytes=info.max_request_bytes,
        overhead_bytes=empty.ByteSize(),
        noun=noun,
    )


def _request_seed(seed: int, number: int) -> int:  # below 2**63
    """The caller's seed for the first request, and another for each of the others.

    With one seed for all, equal questions in two requests would get equal answers. A hash, because
    seed + number is what the caller's next call will use.
    """
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "little") >> 1
