"""ModelStreamInfer: order, errors in the middle, ends."""

from __future__ import annotations

import queue
import time

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from kserve_requests import text_inputs
from tritonclient.utils import InferenceServerException

TIMEOUT_S = 60


class Stream:
    """What the callback of a stream got, in order."""

    def __init__(self) -> None:
        self.answers: queue.Queue = queue.Queue()

    def __call__(self, result, error) -> None:
        self.answers.put((result, error))

    def take(self, n: int) -> list:
        return [self.answers.get(timeout=TIMEOUT_S) for _ in range(n)]


def test_answers_come_in_the_order_of_the_requests(client):
    stream = Stream()
    client.start_stream(stream)
    sizes = [1 + i % 3 for i in range(40)]  # of different cost, so that they would not finish in order by chance
    for i, size in enumerate(sizes):
        inputs = text_inputs([f"Was it {i}?"] * size, [f"It was {j}. " * 5 for j in range(size)])
        client.async_stream_infer("tiny-rm", inputs, request_id=str(i))
    answers = stream.take(len(sizes))
    client.stop_stream()
    assert [result.get_response().id for result, _ in answers] == [str(i) for i in range(len(sizes))]
    assert [len(result.as_numpy("score")) for result, _ in answers] == sizes
    assert all(result.get_response().parameters["triton_final_response"].bool_param for result, _ in answers)


def test_a_bad_request_gets_its_error_and_the_stream_goes_on(client, native_scores):
    stream = Stream()
    client.start_stream(stream)
    client.async_stream_infer("tiny-rm", text_inputs(), request_id="good 1")
    client.async_stream_infer("nothing", text_inputs(), request_id="no such model")
    client.async_stream_infer("tiny-rm", text_inputs()[:1], request_id="no answers")
    client.async_stream_infer("tiny-rm", text_inputs(), outputs=[triton.InferRequestedOutput("foo")])
    client.async_stream_infer("tiny-rm", text_inputs(["What?"], [""]))
    client.async_stream_infer("tiny-rm", text_inputs(), request_id="good 2")
    answers = stream.take(6)
    client.stop_stream()
    errors = [error and error.message() for _, error in answers]
    assert errors[0] is None
    assert errors[1] == "Request for unknown model: 'nothing' is not found"
    assert "got ['question']" in errors[2]
    assert errors[3] == "unexpected inference output 'foo' for model 'tiny-rm'"
    assert "the answer is empty" in errors[4]
    assert errors[5] is None
    for result, _ in (answers[0], answers[5]):
        np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)


def test_with_the_header_a_bad_request_ends_the_stream_with_its_status(client):
    stream = Stream()
    client.start_stream(stream, headers={"triton_grpc_error": "true"})
    client.async_stream_infer("tiny-rm", text_inputs())
    client.async_stream_infer("nothing", text_inputs())
    (_, first_error), (_, second_error) = stream.take(2)
    assert first_error is None
    assert second_error.status() == "StatusCode.NOT_FOUND"
    assert second_error.message() == "Request for unknown model: 'nothing' is not found"
    with pytest.raises(InferenceServerException, match="no longer in valid state"):
        client.async_stream_infer("tiny-rm", text_inputs())
    client.stop_stream()


def test_a_stopped_stream_answers_what_was_asked(client):
    stream = Stream()
    client.start_stream(stream, compression_algorithm="gzip")
    for _ in range(10):
        client.async_stream_infer("tiny-rm", text_inputs())
    client.stop_stream()
    assert stream.answers.qsize() == 10
    assert all(error is None for _, error in stream.take(10))


def test_a_cancelled_stream_ends_and_the_server_goes_on(client, reward):
    stream = Stream()
    client.start_stream(stream)
    for _ in range(50):
        client.async_stream_infer("tiny-rm", text_inputs())
    client.stop_stream(cancel_requests=True)
    assert client.infer("tiny-rm", text_inputs()).as_numpy("score").shape == (3, 1)

    ends = time.monotonic() + TIMEOUT_S
    while reward.server.registry.get_sample_value("rewardplane_queue_tokens"):  # pairs of callers that have gone
        assert time.monotonic() < ends
        time.sleep(0.01)


async def test_the_aio_client_streams(reward, native_scores):
    async def requests():
        for i in range(5):
            yield {"model_name": "nothing" if i == 2 else "tiny-rm", "inputs": text_inputs(), "request_id": str(i)}

    async with triton_aio.InferenceServerClient(reward.target) as client:
        answers = [answer async for answer in client.stream_infer(requests())]
    assert [bool(error) for _, error in answers] == [False, False, True, False, False]
    for i, (result, _) in enumerate(answers):
        if i != 2:
            assert result.get_response().id == str(i)
            np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)


def test_more_requests_than_a_stream_keeps_under_way(client):
    stream = Stream()
    client.start_stream(stream)
    for i in range(300):  # MAX_IN_FLIGHT is 256
        client.async_stream_infer("tiny-rm", text_inputs(["Good?"], ["Yes."]), request_id=str(i))
    answers = stream.take(300)
    client.stop_stream()
    assert [result.get_response().id for result, _ in answers] == [str(i) for i in range(300)]
