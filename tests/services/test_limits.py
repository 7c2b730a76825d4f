"""Each limit of a server is crossed once: what is beyond it is refused, and the server goes on."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import grpc
import pytest
import rpc
from held_compute import hold_compute
from rewardplane.services.__main__ import serve
from rewardplane.services.common.kserve import streaming
from servers import served
from tritonclient.grpc import service_pb2

from rewardplane import Client, RetryPolicy, Unavailable

PAIR = ("How was it?", "Good.")
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_HEADERS = 4
ENHANCE_YOUR_CALM = 11


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """RFC 9113, section 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header that no table has. RFC 7541, section 6.2.2."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def frames(data: bytes):
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        yield data[3], data[9 : 9 + size]
        data = data[9 + size :]


def connect(target):
    host, port = target.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def read_to_the_end(connection, timeout_s):
    """All that comes until the other side closes. Raises TimeoutError."""
    connection.settimeout(timeout_s)
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def still_scores(server):
    with Client(server.target, timeout_s=20) as client:
        assert len(client.score([PAIR])) == 1


@pytest.fixture(scope="module")
def server(reward_dir):
    with served(
        "reward",
        reward_dir,
        max_metadata_bytes=2048,
        max_request_bytes=20_000,
        max_request_pairs=4,
        max_pair_tokens=50,
        handshake_seconds=1.0,
    ) as running:
        yield running


def test_metadata(server):
    """Of 2 KiB and more; http2 counts 32 bytes for each entry beside its text."""
    channel = server.channel
    for size, refused in ((500, False), (4000, True)):

        def call(size=size):
            stub = rpc.scoring_service_pb2_grpc.ScoringServiceStub(channel)
            request = rpc.scoring_service_pb2.ScoreAnswersRequest(pairs=[rpc.text(*PAIR)])
            return stub.ScoreAnswers(request, metadata=[("x-long", "a" * size)], timeout=10)

        if refused:
            assert rpc.failure(call).code is EXHAUSTED
        else:
            call()
    still_scores(server)


def test_message_pairs_and_tokens(server):
    channel = server.channel
    assert rpc.failure(lambda: rpc.score(channel, [rpc.text("x" * 30_000, "y")])).code is EXHAUSTED
    assert rpc.failure(lambda: rpc.score(channel, [rpc.text(*PAIR)] * 5)).reason == "TOO_MANY_PAIRS"
    assert rpc.failure(lambda: rpc.score(channel, [rpc.text("good " * 60, "y")])).reason == "INVALID_PAIRS"
    still_scores(server)


def test_answers_of_a_request(policy_dir):
    with served("policy", policy_dir, max_request_pairs=4) as policy:

        def generate(n):
            return rpc.generate(policy.channel, ["a", "b"], answers_per_question=n, max_answer_tokens=2)

        assert len(generate(2).answers) == 4
        assert rpc.failure(lambda: generate(3)).reason == "TOO_MANY_PAIRS"


def test_a_connection_that_says_nothing_is_closed(server):
    with connect(server.target) as connection:
        read_to_the_end(connection, 10)  # raises TimeoutError when it is not closed
    still_scores(server)


def test_a_flood_of_pings_is_told_to_calm_down(server):
    with connect(server.target) as connection:
        connection.sendall(PREFACE + frame(SETTINGS) + frame(PING, bytes(8)) * 50)
        ends = [payload for kind, payload in frames(read_to_the_end(connection, 10)) if kind == GOAWAY]
    assert int.from_bytes(ends[-1][4:8], "big") == ENHANCE_YOUR_CALM
    assert ends[-1][8:] == b"too_many_pings"
    still_scores(server)


def test_connections(reward_dir):
    with served("reward", reward_dir, max_connections=3) as server:
        held = [connect(server.target) for _ in range(3)]
        for connection in held:
            connection.sendall(PREFACE + frame(SETTINGS))
            assert connection.recv(9)
        with connect(server.target) as beyond:
            beyond.sendall(PREFACE + frame(SETTINGS))
            assert not [kind for kind, _ in frames(read_to_the_end(beyond, 10)) if kind == SETTINGS]
        for connection in held:
            connection.close()
        still_scores(server)


def test_calls_at_once(reward_dir):
    with served("reward", reward_dir, max_calls=3) as server:
        release = hold_compute(server)
        waiting = [rpc.score_later(server.channel, [rpc.text(*PAIR)]) for _ in range(3)]
        time.sleep(0.5)
        with (
            Client(server.target, retry=RetryPolicy(max_attempts=1)) as client,
            pytest.raises(Unavailable) as refused,
        ):
            client.info()
        assert refused.value.reason == "TOO_MANY_CALLS"
        release.set()
        assert [len(call.result().scores) for call in waiting] == [1, 1, 1]
        still_scores(server)


def test_streams_of_a_connection(reward_dir):
    """The third call of a connection waits at the client until one of the two before has ended."""
    with served("reward", reward_dir, max_streams=2) as server:
        release = hold_compute(server)
        waiting = [rpc.score_later(server.channel, [rpc.text(*PAIR)]) for _ in range(3)]
        time.sleep(0.5)
        method = ("ScoreAnswers", "rewardplane.v1.ScoringService")
        assert server.metrics()["grpc_server_started_total", method] == 2
        release.set()
        assert [len(call.result().scores) for call in waiting] == [1, 1, 1]


def test_half_a_request(reward_dir):
    service, method = "rewardplane.v1.ScoringService", "ScoreAnswers"
    head = {
        b":method": b"POST", b":scheme": b"http", b":path": f"/{service}/{method}".encode(), b":authority": b"here",
        b"te": b"trailers", b"content-type": b"application/grpc",
    }  # fmt: skip
    headers = b"".join(literal(name, value) for name, value in head.items())
    half = struct.pack(">BI", 0, 1000) + b"not 1000 bytes"
    with (
        served("reward", reward_dir, receive_seconds=0.3, max_calls=1) as server,
        connect(server.target) as connection,
    ):
        call = frame(HEADERS, headers, flags=END_HEADERS, stream=1) + frame(DATA, half, stream=1)
        connection.sendall(PREFACE + frame(SETTINGS) + call)
        ended = ("grpc_server_handled_total", ("DEADLINE_EXCEEDED", method, service))
        end_s = time.monotonic() + 20
        while not (count := server.metrics().get(ended)) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert count == 1
        still_scores(server)  # in the only place there is, while the connection is still there


def test_a_call_without_a_request_says_so(server):
    score = server.channel.stream_unary("/rewardplane.v1.ScoringService/ScoreAnswers")
    assert rpc.failure(lambda: score(iter(()), timeout=10)).reason == "MALFORMED_REQUEST"


def test_the_longest_deadline(reward_dir):
    with served("reward", reward_dir, max_deadline_seconds=0.3) as server:
        release = hold_compute(server)
        waiting = rpc.score_later(server.channel, [rpc.text(*PAIR)])  # asks for 30 s
        time.sleep(0.5)
        release.set()
        assert rpc.read_failure(waiting.exception()).reason == "DEADLINE_PASSED"
        still_scores(server)


async def test_a_stream_is_read_when_there_is_room():
    read: list[int] = []

    async def requests():
        for number in range(6):
            read.append(number)
            yield service_pb2.ModelInferRequest(id=str(number), raw_input_contents=[bytes(1000)])

    go = asyncio.Event()

    async def infer(request):
        await go.wait()
        return service_pb2.ModelInferResponse(id=request.id)

    answers = streaming.stream_infer(requests(), infer, end_at_fault=False, max_bytes=2500)
    first = asyncio.ensure_future(anext(answers))
    await asyncio.sleep(0.1)
    assert read == [0, 1, 2]  # two are under way; the third was read and waits for room
    go.set()
    ids = [(await first).infer_response.id, *[answer.infer_response.id async for answer in answers]]
    assert ids == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--max-metadata-bytes", "10"),
        ("--max-connections", "0"),
        ("--max-streams", "-1"),
        ("--max-calls", "0"),
        ("--handshake-seconds", "0"),
        ("--receive-seconds", "0"),
        ("--max-deadline-seconds", "-1"),
    ],
)
def test_a_limit_that_cannot_be_used_is_named(reward_dir, capsys, flag, value):
    assert serve(["reward", "--model", str(reward_dir), flag, value]) == 2
    assert f"{flag}: Input should be" in capsys.readouterr().err
