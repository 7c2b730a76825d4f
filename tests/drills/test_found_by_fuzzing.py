"""What malformed requests once did, one test for each."""

from __future__ import annotations

import grpc
import pytest
import rpc
from servers import Served
from tritonclient.grpc import service_pb2, service_pb2_grpc

NO_MESSAGE = b"\xff\xff"
"""A tag of field number 2**11, of no wire type that there is."""


def failure_of(server: Served, method: str, data: bytes) -> rpc.Failure:
    return rpc.failure(lambda: server.channel.unary_unary(method)(data, timeout=rpc.TIMEOUT_S))


@pytest.mark.parametrize(
    "method", ["/rewardplane.v1.ScoringService/ScoreAnswers", "/inference.GRPCInferenceService/ModelInfer"]
)
def test_bytes_that_are_no_message_are_an_invalid_argument(reward_server: Served, method: str) -> None:
    failed = failure_of(reward_server, method, NO_MESSAGE)
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


def test_bytes_that_are_no_message_end_their_stream_with_an_invalid_argument(reward_server: Served) -> None:
    call = reward_server.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    failed = rpc.failure(lambda: list(call(iter([NO_MESSAGE]), timeout=rpc.TIMEOUT_S)))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


@pytest.mark.parametrize("method", ["/a/b/c", "/../../etc/passwd", "/a", "//"])
def test_a_method_with_any_number_of_slashes_is_unimplemented(reward_server: Served, method: str) -> None:
    failed = failure_of(reward_server, method, b"")
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNIMPLEMENTED, "CAPABILITY_NOT_SERVED")


def test_a_version_of_5000_digits_is_an_invalid_argument(reward_server: Served) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(reward_server.channel)
    request = service_pb2.ModelReadyRequest(name="reward", version="9" * 5000)
    failed = rpc.failure(lambda: stub.ModelReady(request, timeout=rpc.TIMEOUT_S))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VERSION")


@pytest.mark.parametrize("letter", ["a", "é"])
def test_an_error_that_repeats_a_long_request_arrives_whole(reward_server: Served, letter: str) -> None:
    """gRPC refuses trailing metadata above 8 KiB, and has three bytes for each that is not ASCII."""
    failed = rpc.failure(
        lambda: rpc.score(reward_server.channel, [rpc.text("a", "b")], expected_checkpoint_digest=letter * 5000)
    )
    assert (failed.code, failed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHECKPOINT_DIGEST_MISMATCH")
    assert 200 < len(failed.message.encode()) <= 610


@pytest.mark.parametrize("temperature", [1e-45, 1e38, float("nan"), float("inf"), -1.0, 0.0])
def test_a_temperature_that_would_overflow_is_refused(reference_server: Served, temperature: float) -> None:
    failed = rpc.failure(lambda: rpc.logprobs(reference_server.channel, [rpc.text("a", "b")], temperature=temperature))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_TEMPERATURE")
