"""From the opening of the port to the end of the process."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import rpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from rewardplane.services.__main__ import serve
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import Server
from servers import Process, Served, scrape, served

from rewardplane.v1 import model_service_pb2, model_service_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVED_NAMES = {
    "reward_server": {"rewardplane.v1.ScoringService"},
    "reference_server": {"rewardplane.v1.LogprobService"},
    "policy_server": {
        "rewardplane.v1.ScoringService",
        "rewardplane.v1.LogprobService",
        "rewardplane.v1.GenerationService",
    },
}
ALWAYS_SERVED = {"rewardplane.v1.ModelService", "inference.GRPCInferenceService"}


def health(channel: grpc.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=10).status


@pytest.mark.parametrize("fixture", sorted(SERVED_NAMES))
def test_health_and_reflection_name_each_service(request: pytest.FixtureRequest, fixture: str) -> None:
    server: Served = request.getfixturevalue(fixture)
    names = SERVED_NAMES[fixture] | ALWAYS_SERVED
    assert {name: health(server.channel, name) for name in {"", *names}} == dict.fromkeys({"", *names}, SERVING)
    reflected = set(ProtoReflectionDescriptorDatabase(server.channel).get_services())
    assert reflected == names | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    absent = rpc.failure(lambda: health(server.channel, "rewardplane.v1.NoService"))
    assert absent.code is grpc.StatusCode.NOT_FOUND


async def test_while_the_model_is_loaded_health_is_answered_and_calls_are_put_off(reward_dir: Path) -> None:
    server = Server("reward", reward_dir, ServerConfig(threads=1))
    await server.open()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:

        async def status(name: str) -> Any:
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
            return reply.status

        assert await status("") == NOT_SERVING
        assert await status("rewardplane.v1.ScoringService") == NOT_SERVING
        stub = rpc.scoring_service_pb2_grpc.ScoringServiceStub(channel)
        request = rpc.scoring_service_pb2.ScoreAnswersRequest(pairs=[rpc.text("a", "b")])
        for call, argument in (
            (stub.ScoreAnswers, request),
            (
                model_service_pb2_grpc.ModelServiceStub(channel).GetModelInfo,
                model_service_pb2.GetModelInfoRequest(),
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call(argument)
            failed = rpc.read_aio_failure(error.value)
            assert failed.code is grpc.StatusCode.UNAVAILABLE
            assert failed.reason == "LOADING"
            assert failed.retry_after_s
        await server.load()
        assert await status("") == SERVING
        assert await status("rewardplane.v1.ScoringService") == SERVING
        assert len((await stub.ScoreAnswers(request)).scores) == 1
    await server.stop()


@pytest.fixture
def process(reward_dir: Path, tmp_path: Path) -> Iterator[Process]:
    started = Process("reward", reward_dir, tmp_path, "--max-batch-tokens", "128", "--max-queue-tokens", "100000")
    try:
        yield started
    finally:
        started.close()


def test_sigterm_under_load_loses_nothing(process: Process) -> None:
    target = process.wait_until_serving()
    pairs = [rpc.text(f"question {i}", "answer " * 20) for i in range(30)]
    outcomes: list[tuple[float, float, str]] = []  # began, ended, how
    stop = threading.Event()

    def call_until_stopped() -> None:
        with grpc.insecure_channel(target) as channel:
            while not stop.is_set():
                began_s = time.monotonic()
                try:
                    outcome = "OK" if len(rpc.score(channel, pairs).scores) == 30 else "cut short"
                except grpc.RpcError as error:
                    failed = rpc.read_failure(error)
                    outcome = f"{failed.code.name} {failed.reason}".strip()
                outcomes.append((began_s, time.monotonic(), outcome))
                time.sleep(0.02)

    callers = [threading.Thread(target=call_until_stopped) for _ in range(8)]
    for caller in callers:
        caller.start()
    time.sleep(1.5)
    told_s = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    status = process.process.wait(30)
    stop.set()
    for caller in callers:
        caller.join()
    assert status == 0, process.log()
    # What had arrived has been answered, much of it after SIGTERM. 0.1 s are for calls on their way.
    assert {how for began_s, _, how in outcomes if began_s < told_s - 0.1} == {"OK"}
    assert "OK" in {how for _, ended_s, how in outcomes if ended_s > told_s}
    # What came later was refused, or found no server: gRPC itself cancels what arrives in its last moment.
    later = {how for began_s, _, how in outcomes if began_s > told_s}
    assert later <= {"UNAVAILABLE DRAINING", "UNAVAILABLE", "CANCELLED"}


def check_start_line(process: Process, target: str, digest: str) -> None:
    line = next(line for line in process.log().splitlines() if line.startswith("serving "))
    for part in ("reward", "score", target, digest, f"http://127.0.0.1:{process.metrics_port}/metrics"):
        assert part in line


def test_readiness_goes_at_once_and_work_in_flight_finishes(process: Process) -> None:
    target = process.wait_until_serving()
    pairs = [rpc.text(f"question {i}", "answer " * 20) for i in range(80)]
    with grpc.insecure_channel(target) as channel:
        check_start_line(process, target, rpc.info(channel).model_version.checkpoint_digest)
        rpc.score(channel, pairs[:1])
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        calls = [rpc.score_later(channel, pairs) for _ in range(3)]
        while scrape(process.metrics_port)["rewardplane_queue_tokens", ()] == 0:
            time.sleep(0.005)
        process.process.send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        refused = rpc.failure(lambda: rpc.score(channel, pairs[:1]))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert refused.retry_after_s
        assert [len(call.result().scores) for call in calls] == [80] * 3
        assert process.process.wait(30) == 0


def test_what_takes_longer_than_the_drain_is_cut_off(policy_dir: Path) -> None:
    with served("policy", policy_dir, drain_seconds=0.1) as server:
        stub = rpc.generation_service_pb2_grpc.GenerationServiceStub(grpc.insecure_channel(server.target))
        request = rpc.generation_service_pb2.GenerateAnswersRequest(
            questions=[rpc.generation_service_pb2.Question(text="a")] * 256, max_answer_tokens=200
        )
        calls = [stub.GenerateAnswers.future(request, timeout=60) for _ in range(20)]
        rpc.score(server.channel, [rpc.text("a", "b")])
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 10
    codes = {call.exception().code() for call in calls if call.exception()}
    # A call that is cut off hears it from the server or, as often, from the connection that ends.
    assert codes
    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_sigterm_while_loading_ends_with_0(reward_dir: Path, tmp_path: Path) -> None:
    process = Process("reward", reward_dir, tmp_path)
    try:
        end_s = time.monotonic() + 60
        while "loading" not in process.log() and time.monotonic() < end_s:
            time.sleep(0.01)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(30) == 0, process.log()
    finally:
        process.close()


def test_a_server_that_cannot_start_says_why(
    reward_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_with(directory: Path, *flags: str) -> str:
        assert serve(["reward", "--model", str(directory), "--port", "0", "--metrics-port", "0", *flags]) == 1
        return capsys.readouterr().err

    nowhere = tmp_path / "nowhere"
    assert f"cannot serve {nowhere} as reward: {nowhere} is not a directory" in fails_with(nowhere)
    assert "holds neither a model" in fails_with(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in fails_with(reward_dir, "--port", str(port))
        assert f"cannot serve metrics on port {port}" in fails_with(reward_dir, "--metrics-port", str(port))


def test_wrong_flags_end_with_2(reward_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--dtype", "int8"], ["--max-batch-tokens", "0"], ["--reference", "localhost:1"], ["--ports", "1"]):
        assert serve(["reward", "--model", str(reward_dir), *flags]) == 2
        assert flags[0] in capsys.readouterr().err
