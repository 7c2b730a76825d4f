"""A reward judge that gives the scores a test tells it, and remembers what it was asked. No model behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from rewardplane.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    scoring_service_pb2,
    scoring_service_pb2_grpc,
    types_pb2,
)

VERSION = types_pb2.ModelVersion(model_name="peer", checkpoint_digest="peer-1")


class RewardPeer(scoring_service_pb2_grpc.ScoringServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Scores every pair of its n-th request (from 1) with `score_of(n)`."""

    def __init__(self, fingerprint: str, score_of: Callable[[int], float]) -> None:
        self.fingerprint = fingerprint
        self.score_of = score_of
        self.requests: list[Any] = []

    def GetModelInfo(self, request, context):
        info = model_service_pb2.ModelInfo(
            model_version=VERSION,
            tokenizer_fingerprint=self.fingerprint,
            dtype="float32",
            score_kind=model_service_pb2.SCORE_KIND_REWARD,
            vocabulary_size=320,
        )
        return model_service_pb2.GetModelInfoResponse(model_info=info)

    def ScoreAnswers(self, request, context):
        self.requests.append(request)
        scores = [self.score_of(len(self.requests))] * len(request.pairs)
        return scoring_service_pb2.ScoreAnswersResponse(scores=scores, model_version=VERSION)


@contextlib.contextmanager
def serving(peer: RewardPeer, threads: int = 1) -> Iterator[str]:
    """Gives HOST:PORT."""
    server = grpc.server(ThreadPoolExecutor(threads))  # with one, requests keep their order
    scoring_service_pb2_grpc.add_ScoringServiceServicer_to_server(peer, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
