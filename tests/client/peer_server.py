"""A server of rewardplane.v1 that does what a test tells it, for tests of the client. No model behind it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
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


def status(code: grpc.StatusCode, message: str = "", **details: Any) -> grpc.Status:
    """`reason="X"`, `retry_after_s=0.2` and `violations=[(field, description)]` become google.rpc details."""
    packed = []
    if "reason" in details:
        packed.append(error_details_pb2.ErrorInfo(reason=details["reason"], domain="rewardplane.dev"))
    if "retry_after_s" in details:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(details["retry_after_s"] * 1e9))
        packed.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if "violations" in details:
        violation = error_details_pb2.BadRequest.FieldViolation
        packed.append(
            error_details_pb2.BadRequest(
                field_violations=[violation(field=f, description=d) for f, d in details["violations"]]
            )
        )
    anys = []
    for detail in packed:
        anys.append(any_pb2.Any())
        anys[-1].Pack(detail)
    return rpc_status.to_status(status_pb2.Status(code=code.value[0], message=message, details=anys))


class Peer(
    scoring_service_pb2_grpc.ScoringServiceServicer,
    logprob_service_pb2_grpc.LogprobServiceServicer,
    generation_service_pb2_grpc.GenerationServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Scores a text pair with the number that its answer spells, and records what it was sent."""

    def __init__(self, digest: str = "digest-1", fingerprint: str = "tokenizer-1", **limits: int) -> None:
        self.version = types_pb2.ModelVersion(model_name="peer", checkpoint_digest=digest, policy_version=7)
        limits = {"max_request_pairs": 64, "max_request_bytes": 1 << 20, **limits}
        self.info = model_service_pb2.ModelInfo(
            model_version=self.version,
            tokenizer_fingerprint=fingerprint,
            dtype="float32",
            score_kind=model_service_pb2.SCORE_KIND_REWARD,
            max_pair_tokens=1024,
            max_batch_tokens=4096,
            vocabulary_size=2048,
            stop_token_ids=[0, 2],
            **limits,
        )
        self.info.load_time.FromJsonString("2026-11-01T12:00:00Z")
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.info_requests = 0
        self.refusals: deque[grpc.Status] = deque()  # given to the next requests, one each
        self.on_request: Callable[[Any, grpc.ServicerContext], None] = lambda request, context: None
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.Lock()

    def GetModelInfo(self, request, context):
        self.info_requests += 1
        return model_service_pb2.GetModelInfoResponse(model_info=self.info)

    def ScoreAnswers(self, request, context):
        with self._recorded(request, context):
            scores = [float(pair.text.answer or 0) for pair in request.pairs]
            return scoring_service_pb2.ScoreAnswersResponse(scores=scores, model_version=self.version)

    def ComputeLogprobs(self, request, context):
        """-0.5 for each answer token; a text answer has one token. -0.5 is 0xbf000000."""
        with self._recorded(request, context):
            counts = [max(1, len(pair.tokens.answer_ids) // 4) for pair in request.pairs]
            arrays = [logprob_service_pb2.AnswerLogprobs(logprobs=b"\x00\x00\x00\xbf" * n) for n in counts]
            return logprob_service_pb2.ComputeLogprobsResponse(answer_logprobs=arrays, model_version=self.version)

    def GenerateAnswers(self, request, context):
        """Answers "QUESTION/k": one token 5, and a stop token 2 for every answer but the first."""
        with self._recorded(request, context):
            answers = []
            for question in request.questions:
                for k in range(request.answers_per_question):
                    stopped = k > 0
                    answers.append(
                        generation_service_pb2.GeneratedAnswer(
                            text=f"{question.text}/{k}",
                            tokens=types_pb2.TokenPair(
                                question_ids=b"\x01\0\0\0",
                                answer_ids=b"\x05\0\0\0" + b"\x02\0\0\0" * stopped,
                            ),
                            logprobs=b"\x00\x00\x00\xbf" * (1 + stopped),
                            finish_reason=1 if stopped else 2,
                        )
                    )
            return generation_service_pb2.GenerateAnswersResponse(answers=answers, model_version=self.version)

    @contextlib.contextmanager
    def _recorded(self, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            refusal = self.refusals.popleft() if self.refusals else None
        try:
            self.on_request(request, context)
            if refusal is not None:
                context.abort_with_status(refusal)
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


@contextlib.contextmanager
def serving(
    peer: Any,
    address: str = "127.0.0.1:0",
    *,
    credentials: grpc.ServerCredentials | None = None,
    services: tuple[str, ...] = ("Scoring", "Logprob", "Generation", "Model"),
    max_bytes: int | None = None,
) -> Iterator[str]:
    """Serves until the block ends; gives "host:port"."""
    options = [("grpc.so_reuseport", 0)]
    if max_bytes is not None:
        options.append(("grpc.max_receive_message_length", max_bytes))
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    adders = {
        "Scoring": scoring_service_pb2_grpc.add_ScoringServiceServicer_to_server,
        "Logprob": logprob_service_pb2_grpc.add_LogprobServiceServicer_to_server,
        "Generation": generation_service_pb2_grpc.add_GenerationServiceServicer_to_server,
        "Model": model_service_pb2_grpc.add_ModelServiceServicer_to_server,
    }
    for service in services:
        adders[service](peer, server)
    open_port = server.add_insecure_port if credentials is None else server.add_secure_port
    port = open_port(address, *([credentials] if credentials is not None else []))
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(grace=None).wait()
