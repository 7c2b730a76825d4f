"""Calls with the generated stubs alone, so that tests see what is on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rewardplane.v1 import (
    generation_service_pb2,
    generation_service_pb2_grpc,
    logprob_service_pb2,
    logprob_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    scoring_service_pb2,
    scoring_service_pb2_grpc,
    types_pb2,
)

Ids = Sequence[int]
TIMEOUT_S = 30.0


def text(question: str, answer: str) -> Any:
    return types_pb2.QuestionAnswer(text=types_pb2.TextPair(question=question, answer=answer))


def tokens(question: Ids, answer: Ids) -> Any:
    return types_pb2.QuestionAnswer(
        tokens=types_pb2.TokenPair(
            question_ids=np.asarray(question, "<i4").tobytes(), answer_ids=np.asarray(answer, "<i4").tobytes()
        )
    )


def info(channel: grpc.Channel) -> Any:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    return stub.GetModelInfo(model_service_pb2.GetModelInfoRequest(), timeout=TIMEOUT_S).model_info


def score(channel: grpc.Channel, pairs: Sequence[Any], *, timeout_s: float = TIMEOUT_S, **fields: Any) -> Any:
    request = scoring_service_pb2.ScoreAnswersRequest(pairs=pairs, **fields)
    return scoring_service_pb2_grpc.ScoringServiceStub(channel).ScoreAnswers(request, timeout=timeout_s)


def score_later(channel: grpc.Channel, pairs: Sequence[Any], *, timeout_s: float = TIMEOUT_S, **fields: Any) -> Any:
    """As `score`, but gives a future."""
    request = scoring_service_pb2.ScoreAnswersRequest(pairs=pairs, **fields)
    return scoring_service_pb2_grpc.ScoringServiceStub(channel).ScoreAnswers.future(request, timeout=timeout_s)


def logprobs(channel: grpc.Channel, pairs: Sequence[Any], **fields: Any) -> Any:
    request = logprob_service_pb2.ComputeLogprobsRequest(pairs=pairs, **fields)
    return logprob_service_pb2_grpc.LogprobServiceStub(channel).ComputeLogprobs(request, timeout=TIMEOUT_S)


def generate(channel: grpc.Channel, questions: Sequence[str], **fields: Any) -> Any:
    given = [generation_service_pb2.Question(text=question) for question in questions]
    request = generation_service_pb2.GenerateAnswersRequest(questions=given, **fields)
    return generation_service_pb2_grpc.GenerationServiceStub(channel).GenerateAnswers(request, timeout=TIMEOUT_S)


def floats(data: bytes) -> Any:
    return np.frombuffer(data, "<f4")


def ids(data: bytes) -> list[int]:
    return np.frombuffer(data, "<i4").tolist()


@dataclass(frozen=True)
class Failure:
    """A failed call, as its status says."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    violations: dict[str, str]
    retry_after_s: float | None


def failure(call: Callable[[], Any]) -> Failure:
    """The failure of a call that must fail."""
    try:
        reply = call()
    except grpc.RpcError as error:
        return read_failure(error)
    raise AssertionError(f"the call did not fail: {reply}")


def read_failure(error: Any) -> Failure:
    return _failure(error, rpc_status.from_call(error))


def read_aio_failure(error: Any) -> Failure:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return _failure(error, status_pb2.Status.FromString(value))
    return _failure(error, None)


def _failure(error: Any, status: status_pb2.Status | None) -> Failure:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry: error_details_pb2.RetryInfo | None = None
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
        candidate = error_details_pb2.RetryInfo()
        retry = candidate if detail.Unpack(candidate) else retry
    return Failure(
        code=error.code(),
        message=error.details(),
        reason=info.reason,
        domain=info.domain,
        violations={violation.field: violation.description for violation in bad.field_violations},
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )
