"""Loading and unloading by callers. What is expected is what Triton 2.51 with --model-control-mode=explicit said."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kserve_requests import text_inputs
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import Server
from servers import Served, served
from tiny_models import save_tiny
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from rewardplane import Client
from rewardplane.errors import Unavailable
from rewardplane.wire import TextPair

MODEL = "tiny-policy"


@pytest.fixture
def published(tiny_checkpoints: Path, tmp_path: Path) -> Path:
    """A directory of checkpoints; `tiny-policy` after 3 updates is there."""
    shutil.copytree(tiny_checkpoints / "at-3" / MODEL, tmp_path / "published" / "3")
    return tmp_path / "published"


@pytest.fixture
def controlled(published: Path) -> Iterator[Served]:
    with served("policy", published, model_control_mode="explicit", max_batch_tokens=64) as server:
        yield server


@pytest.fixture
def control(controlled: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(controlled.target) as client:
        yield client


def add_newer(published: Path, tiny_checkpoints: Path) -> None:
    shutil.copytree(tiny_checkpoints / "at-4" / MODEL, published / "4")


def scores(client: triton.InferenceServerClient) -> tuple[np.ndarray, str]:
    """float32[3, 1], and the version that gave them."""
    result = client.infer(MODEL, text_inputs(), outputs=[triton.InferRequestedOutput("score")])
    return result.as_numpy("score"), result.get_response().model_version


def index(client: triton.InferenceServerClient) -> dict[str, str]:
    (model,) = client.get_model_repository_index(as_json=True)["models"]
    return model


def wait_for_state(client: triton.InferenceServerClient, state: str) -> dict[str, str]:
    end_s = time.monotonic() + 30
    while index(client)["state"] != state:
        assert time.monotonic() < end_s, index(client)
        time.sleep(0.01)
    return index(client)


def refusal(call: Callable[[], Any]) -> tuple[str, str]:
    """(code, message) of a call that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def serving(server: Served) -> str:
    stub = health_pb2_grpc.HealthStub(server.channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(service="rewardplane.v1.ScoringService"))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)


def test_an_unloaded_model_is_gone_until_it_is_loaded(controlled: Served, control) -> None:
    before, _ = scores(control)
    control.unload_model(MODEL)
    assert wait_for_state(control, "UNAVAILABLE") == {
        "name": MODEL, "version": "3", "state": "UNAVAILABLE", "reason": "unloaded",
    }  # fmt: skip
    stub = service_pb2_grpc.GRPCInferenceServiceStub(controlled.channel)
    assert not stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True)).models
    assert not control.is_model_ready(MODEL)
    assert not control.is_model_ready(MODEL, "3")
    assert control.is_server_ready()
    nothing = ("NOT_FOUND", f"Request for unknown model: '{MODEL}' has no available versions")
    not_ready = ("UNAVAILABLE", f"Request for unknown model: '{MODEL}' version 3 is not at ready state")
    for call in (control.get_model_metadata, control.get_model_config):
        assert refusal(lambda call=call: call(MODEL)) == nothing
        assert refusal(lambda call=call: call(MODEL, "3")) == not_ready
        assert refusal(lambda call=call: call(MODEL, "9"))[0] == "NOT_FOUND"
    assert refusal(lambda: control.infer(MODEL, text_inputs())) == nothing
    assert refusal(lambda: control.infer(MODEL, text_inputs(), model_version="3")) == not_ready
    assert refusal(lambda: control.get_inference_statistics(MODEL)) == (
        "INVALID_ARGUMENT", f"requested model '{MODEL}' is not available",
    )  # fmt: skip
    assert not control.get_inference_statistics().model_stats
    assert refusal(lambda: control.get_trace_settings(MODEL))[0] == "INVALID_ARGUMENT"
    control.unload_model(MODEL)  # twice is no error
    control.load_model(MODEL)
    assert index(control) == {"name": MODEL, "version": "3", "state": "READY"}
    assert control.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count == 0
    np.testing.assert_array_equal(scores(control)[0], before)


def test_while_it_is_unloaded_health_and_rewardplane_v1_say_so(controlled: Served, control) -> None:
    assert serving(controlled) == "SERVING"
    control.unload_model(MODEL)
    assert serving(controlled) == "NOT_SERVING"
    with Client(controlled.target, timeout_s=0.5) as client:
        with pytest.raises(Unavailable) as caught:
            client.score([TextPair("a", "b")])
        assert caught.value.reason == "UNLOADED"
        wait_for_state(control, "UNAVAILABLE")
        control.load_model(MODEL)
        assert serving(controlled) == "SERVING"
        assert len(client.score([TextPair("a", "b")]).values) == 1


def test_calls_in_flight_are_answered_and_a_load_waits_for_them(controlled: Served, control) -> None:
    expected, _ = scores(control)
    answers: list[Future[Any]] = [Future() for _ in range(6)]
    with held_up(controlled):
        for answer in answers:
            control.async_infer(MODEL, text_inputs(), lambda result, error, a=answer: a.set_result((result, error)))
        wait_until_queued(controlled, 3 * len(answers))
        began_s = time.monotonic()
        control.unload_model(MODEL)
        assert time.monotonic() - began_s < 5  # it does not wait for them
        assert index(control)["state"] == "UNLOADING"
        assert not control.is_server_ready()
        assert refusal(lambda: control.infer(MODEL, text_inputs()))[0] == "NOT_FOUND"
        loading = threading.Thread(target=control.load_model, args=[MODEL])
        loading.start()
    for answer in answers:
        result, error = answer.result(30)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("score"), expected)
    loading.join(30)
    np.testing.assert_array_equal(scores(control)[0], expected)


def test_a_newer_checkpoint_is_loaded_on_demand_without_a_lost_call(
    controlled: Served, control, published: Path, tiny_checkpoints: Path
) -> None:
    found: list[tuple[np.ndarray, str]] = []
    stop = threading.Event()

    def ask() -> None:
        with triton.InferenceServerClient(controlled.target) as client:
            while not stop.is_set():  # a failed call ends the thread, and the test
                found.append(scores(client))

    callers = [threading.Thread(target=ask) for _ in range(3)]
    for caller in callers:
        caller.start()
    control.load_model(MODEL)  # what is served already
    assert index(control)["version"] == "3"
    add_newer(published, tiny_checkpoints)
    control.load_model(MODEL)
    assert index(control)["version"] == "4"
    after, version = scores(control)
    assert version == "4"
    alive = [caller.is_alive() for caller in callers]
    stop.set()
    for caller in callers:
        caller.join()
    assert all(alive)
    assert {version for _, version in found} >= {"3"}
    for values, of in found:
        assert np.array_equal(values, after) == (of == "4")


def test_what_cannot_be_loaded_is_refused_and_the_old_model_stays(controlled: Served, control, published: Path) -> None:
    before, _ = scores(control)
    save_tiny(published / "5", "policy", policy_version=5, eos_token_id=5)  # another stop token
    code, message = refusal(lambda: control.load_model(MODEL))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(f"load failed for model '{MODEL}'")
    assert "other stop tokens" in message
    np.testing.assert_array_equal(scores(control)[0], before)
    (published / "5" / "model.safetensors").write_bytes(b"torn")
    assert "torn" in refusal(lambda: control.load_model(MODEL))[1]
    control.unload_model(MODEL)
    wait_for_state(control, "UNAVAILABLE")
    assert refusal(lambda: control.load_model(MODEL))[0] == "INVALID_ARGUMENT"
    assert index(control)["state"] == "UNAVAILABLE"
    shutil.rmtree(published / "5")
    control.load_model(MODEL)
    np.testing.assert_array_equal(scores(control)[0], before)


def test_nothing_to_load(controlled: Served, control, published: Path) -> None:
    for name in ("nothing", ""):
        code, message = refusal(lambda name=name: control.load_model(name))
        assert (code, message.split(":")[0]) == (
            "INTERNAL", f"failed to load '{name}', failed to poll from model repository",
        )  # fmt: skip
    control.unload_model("nothing")
    assert control.is_model_ready(MODEL)
    shutil.rmtree(published / "3")
    assert refusal(lambda: control.load_model(MODEL))[0] == "INTERNAL"
    assert control.is_model_ready(MODEL)


@pytest.mark.parametrize(
    ("key", "kind", "value", "code", "words"),
    [
        ("config", "string_param", json.dumps({"max_batch_size": 2}), "UNIMPLEMENTED", "'config' is not supported"),
        ("file:1/model.py", "bytes_param", b"x", "UNIMPLEMENTED", "'file:1/model.py' is not supported"),
        ("config", "int64_param", 1, "INVALID_ARGUMENT",
         "invalid value type for load parameter 'config', expected string_param."),
        ("file:1", "string_param", "x", "INVALID_ARGUMENT",
         "invalid value type for load parameter 'file:1', expected bytes_param."),
        ("foo", "string_param", "x", "INVALID_ARGUMENT", "unrecognized load parameter 'foo'."),
    ],
)  # fmt: skip
def test_overrides_are_refused_by_name(controlled: Served, key, kind, value, code, words) -> None:
    request = service_pb2.RepositoryModelLoadRequest(model_name=MODEL)
    setattr(request.parameters[key], kind, value)
    stub = service_pb2_grpc.GRPCInferenceServiceStub(controlled.channel)
    with pytest.raises(grpc.RpcError, match=words) as caught:
        stub.RepositoryModelLoad(request)
    assert caught.value.code().name == code


def test_unload_takes_dependents_and_no_other_repository(controlled: Served, control) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(controlled.channel)
    wrong = service_pb2.RepositoryModelUnloadRequest(model_name=MODEL)
    wrong.parameters["unload_dependents"].string_param = "x"
    with pytest.raises(grpc.RpcError, match="expected bool_param"):
        stub.RepositoryModelUnload(wrong)
    for call, request in (
        (stub.RepositoryModelLoad, service_pb2.RepositoryModelLoadRequest),
        (stub.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest),
    ):
        with pytest.raises(grpc.RpcError, match="'repository_name' specification is not supported"):
            call(request(repository_name="other", model_name=MODEL))
    assert control.is_model_ready(MODEL)
    control.unload_model(MODEL, unload_dependents=True)
    assert not control.is_model_ready(MODEL)


def test_the_extension_is_listed_only_where_it_works(controlled: Served, control, client) -> None:
    assert "model_repository" in control.get_server_metadata().extensions
    assert "model_repository" not in client.get_server_metadata().extensions


async def test_callers_who_load_and_a_server_that_follows_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either callers say"):
        Server("policy", tmp_path, ServerConfig(model_control_mode="explicit", follow_seconds=1.0))


@contextmanager
def held_up(server: Served) -> Iterator[None]:
    """Nothing is computed inside of it."""
    began, go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(60)

    batcher = server.server.engine._compute.batcher
    server.loop.call_soon_threadsafe(lambda: server.loop.create_task(batcher.run_alone(wait)))
    assert began.wait(30)
    yield
    go.set()


def wait_until_queued(server: Served, pairs: int) -> None:
    end_s = time.monotonic() + 30
    while server.metrics()["rewardplane_queue_pairs", ()] < pairs:
        assert time.monotonic() < end_s
        time.sleep(0.01)
