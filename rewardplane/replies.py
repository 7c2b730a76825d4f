"""Reads replies, and refuses those that break the contract before a wrong number gets into a training run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardplane.errors import DigestMismatch, ServerFault
from rewardplane.results import Answer, ModelInfo, ModelVersion, ScoreKind
from rewardplane.v1 import generation_service_pb2, model_service_pb2, types_pb2
from rewardplane.wire import MalformedArray, MalformedPair, TokenPair, unpack_floats, unpack_ids

_SCORE_KINDS = {
    model_service_pb2.SCORE_KIND_UNSPECIFIED: ScoreKind.NONE,
    model_service_pb2.SCORE_KIND_REWARD: ScoreKind.REWARD,
    model_service_pb2.SCORE_KIND_LOGPROB_SUM: ScoreKind.LOGPROB_SUM,
    model_service_pb2.SCORE_KIND_IMPLICIT_REWARD: ScoreKind.IMPLICIT_REWARD,
}


class Reply(NamedTuple):
    """A message, and the address it came from."""

    message: Any
    target: str


def read_info(reply: Reply) -> ModelInfo:
    """Raises ServerFault for a time that is none."""
    info: model_service_pb2.ModelInfo = reply.message.model_info
    try:
        load_time = info.load_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise _broken(f"a load_time that is none: {error}", reply.target) from None
    return ModelInfo(
        model_version=_version(info.model_version),
        tokenizer_fingerprint=info.tokenizer_fingerprint,
        dtype=info.dtype,
        score_kind=_SCORE_KINDS.get(info.score_kind, ScoreKind.UNKNOWN),
        max_pair_tokens=info.max_pair_tokens,
        max_request_pairs=info.max_request_pairs,
        max_request_bytes=info.max_request_bytes,
        max_batch_tokens=info.max_batch_tokens,
        load_time=load_time,
        vocabulary_size=info.vocabulary_size,
        stop_token_ids=tuple(info.stop_token_ids),
    )


def read_version(replies: Sequence[Reply], expected_digest: str) -> ModelVersion:
    """The one version that answered all requests of a batch. Raises DigestMismatch when there were two."""
    versions = [_version(reply.message.model_version) for reply in replies]
    wanted = expected_digest or versions[0].checkpoint_digest
    for reply, version in zip(replies, versions, strict=True):
        if version.checkpoint_digest != wanted:
            raise DigestMismatch(
                f"checkpoint {version.checkpoint_digest!r} answered; {wanted!r} "
                + ("was expected" if expected_digest else "answered other requests of the same batch"),
                target=reply.target,
            )
    return versions[0]


def read_scores(requests: Sequence[Any], replies: Sequence[Reply]) -> NDArray[np.float32]:  # [n]
    """Joins the scores of the requests. Raises ServerFault for a wrong count and for NaN or infinity."""
    parts = []
    for request, reply in zip(requests, replies, strict=True):
        scores = np.array(reply.message.scores, np.float32)
        _check_count(len(scores), len(request.pairs), "scores", "pairs", reply.target)
        _check_finite(scores, f"a score for {len(scores)} pairs", "NON_FINITE_SCORE", reply.target)
        parts.append(scores)
    return np.concatenate(parts)


def read_logprobs(requests: Sequence[Any], replies: Sequence[Reply]) -> list[NDArray[np.float32]]:  # n of [A]
    """Joins the log-probs of the requests. Raises ServerFault for wrong counts and non-finite values."""
    joined = []
    for request, reply in zip(requests, replies, strict=True):
        arrays = reply.message.answer_logprobs
        _check_count(len(arrays), len(request.pairs), "arrays of log-probs", "pairs", reply.target)
        for pair, array in zip(request.pairs, arrays, strict=True):
            # Only a token pair tells this side how many tokens its answer has.
            wanted = len(pair.tokens.answer_ids) // 4 if pair.HasField("tokens") else None
            joined.append(_logprobs(array.logprobs, wanted, reply.target))
    return joined


def read_answers(request: generation_service_pb2.GenerateAnswersRequest, reply: Reply) -> list[list[Answer]]:
    """The answers to each question of one request. Raises ServerFault for wrong counts and broken arrays."""
    each = request.answers_per_question
    answers = [_answer(answer, reply.target) for answer in reply.message.answers]
    _check_count(len(answers), each * len(request.questions), "answers", "answers asked for", reply.target)
    return [answers[i : i + each] for i in range(0, len(answers), each)]


def _answer(answer: generation_service_pb2.GeneratedAnswer, target: str) -> Answer:
    try:
        tokens = TokenPair(unpack_ids(answer.tokens.question_ids), unpack_ids(answer.tokens.answer_ids))
    except (MalformedArray, MalformedPair) as error:
        raise _broken(f"an answer's token ids: {error}", target) from None
    if not len(tokens.answer_ids):
        raise _broken("an answer without tokens", target)
    if answer.finish_reason == generation_service_pb2.FINISH_REASON_UNSPECIFIED:
        raise _broken("an answer without finish_reason", target)
    finished = answer.finish_reason == generation_service_pb2.FINISH_REASON_STOP
    return Answer(answer.text, tokens, _logprobs(answer.logprobs, len(tokens.answer_ids), target), finished)


def _logprobs(data: bytes, wanted: int | None, target: str) -> NDArray[np.float32]:
    try:
        logprobs = unpack_floats(data)
    except MalformedArray as error:
        raise _broken(f"log-probs: {error}", target) from None
    if wanted is not None:
        _check_count(len(logprobs), wanted, "log-probs", "answer tokens", target)
    _check_finite(logprobs, "a log-prob", "NON_FINITE_LOGPROB", target)
    return logprobs


def _version(version: types_pb2.ModelVersion) -> ModelVersion:
    return ModelVersion(version.model_name, version.checkpoint_digest, version.policy_version)


def _check_count(got: int, wanted: int, what: str, of: str, target: str) -> None:
    if got != wanted:
        raise _broken(f"{got} {what} for {wanted} {of}", target)


def _check_finite(values: NDArray[np.float32], what: str, reason: str, target: str) -> None:
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        message = f"the server sent {what} that is {values[at]}, at [{at}]"
        raise ServerFault(message, reason=reason, target=target)


def _broken(what: str, target: str) -> ServerFault:
    return ServerFault(f"the server sent {what}", reason="MALFORMED_REPLY", target=target)
