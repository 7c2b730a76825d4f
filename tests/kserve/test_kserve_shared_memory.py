"""Tensors in system shared memory, with tritonclient's own functions for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from kserve_requests import ANSWERS, QUESTIONS, raw_request, text_inputs
from rewardplane.services.common.kserve.settings import is_local
from servers import served
from tritonclient.utils import InferenceServerException, serialize_byte_tensor
from tritonclient.utils import shared_memory as shm

N = len(QUESTIONS)


@pytest.fixture
def region(client) -> Iterator[str]:
    """The key of 1024 bytes: questions from 0, answers from 512; registered as "all" and, from 512 on, as "half"."""
    key = f"/rewardplane-test-{os.getpid()}"
    handle = shm.create_shared_memory_region("all", key, 1024, create_only=True)
    try:
        for offset, texts in ((0, QUESTIONS), (512, ANSWERS)):
            shm.set_shared_memory_region(handle, [serialize_byte_tensor(as_bytes(texts))], offset)
        client.register_system_shared_memory("all", key, 1024)
        client.register_system_shared_memory("half", key, 512, offset=512)
        yield handle
    finally:
        client.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(handle)


def as_bytes(texts) -> np.ndarray:
    return np.array([[text.encode()] for text in texts], object)


def size_of(texts) -> int:
    return serialize_byte_tensor(as_bytes(texts)).item().__len__()


def inputs_in_memory(question=("all", 0), answer=("half", 0)) -> list[triton.InferInput]:
    inputs = []
    for name, texts, (where, offset) in (("question", QUESTIONS, question), ("answer", ANSWERS, answer)):
        tensor = triton.InferInput(name, [N, 1], "BYTES")
        tensor.set_shared_memory(where, size_of(texts), offset=offset)
        inputs.append(tensor)
    return inputs


def output_in_memory(region: str, byte_size: int, offset: int = 0) -> list[triton.InferRequestedOutput]:
    output = triton.InferRequestedOutput("score")
    output.set_shared_memory(region, byte_size, offset=offset)
    return [output]


def test_inputs_and_outputs_through_shared_memory(client, region, native_scores):
    outputs = output_in_memory("all", 4 * N, offset=1000)
    result = client.infer("tiny-rm", inputs_in_memory(), outputs=outputs)
    assert list(result.get_output("score").shape) == [N, 1]
    assert not b"".join(result.get_response().raw_output_contents)
    score = shm.get_contents_as_numpy(region, np.float32, [N, 1], offset=1000)
    np.testing.assert_allclose(score, native_scores, atol=1e-5)


def test_one_input_in_memory_and_one_in_the_request(client, region, native_scores):
    inputs = [text_inputs()[0], inputs_in_memory()[1]]
    np.testing.assert_allclose(client.infer("tiny-rm", inputs).as_numpy("score"), native_scores, atol=1e-5)


def test_contents_in_the_request_and_in_memory_are_too_many(stub, region):
    request = raw_request("tiny-rm", [("question", "BYTES", [1, 1]), ("answer", "BYTES", [1, 1])], [])
    for tensor in request.inputs:
        tensor.contents.bytes_contents.append(b"text")
    request.inputs[0].parameters["shared_memory_region"].string_param = "all"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 64
    with pytest.raises(grpc.RpcError, match="unexpected 'content' provided when using shared memory"):
        stub.ModelInfer(request)


def test_status_lists_regions_until_they_are_unregistered(client, region):
    regions = client.get_system_shared_memory_status().regions
    assert {name: (r.offset, r.byte_size) for name, r in regions.items()} == {"all": (0, 1024), "half": (512, 512)}
    assert list(client.get_system_shared_memory_status("half").regions) == ["half"]
    client.unregister_system_shared_memory("half")
    client.unregister_system_shared_memory("half")  # Triton does not mind either
    with pytest.raises(InferenceServerException, match="Unable to find system shared memory region: 'half'"):
        client.get_system_shared_memory_status("half")
    client.unregister_system_shared_memory()
    assert not client.get_system_shared_memory_status().regions


@pytest.mark.parametrize(
    ("name", "key", "byte_size", "offset", "code", "words"),
    [
        ("all", None, 1024, 0, "ALREADY_EXISTS", "shared memory region 'all' already in manager"),
        ("x", "/rewardplane-nowhere", 64, 0, "INVALID_ARGUMENT", "Unable to open shared memory region"),
        ("x", None, 1025, 0, "INVALID_ARGUMENT", "Invalid shared memory region"),
        ("x", None, 512, 513, "INVALID_ARGUMENT", "Invalid shared memory region"),
        ("x", None, 0, 0, "INVALID_ARGUMENT", "Invalid shared memory region"),
        ("", None, 64, 0, "INVALID_ARGUMENT", "needs a name"),
        ("x", "../../etc/passwd", 64, 0, "INVALID_ARGUMENT", "Unable to open shared memory region"),
        ("x", "/..", 64, 0, "INVALID_ARGUMENT", "Unable to open shared memory region"),
        ("x", "", 64, 0, "INVALID_ARGUMENT", "Unable to open shared memory region"),
    ],
)
def test_what_cannot_be_registered(client, region, name, key, byte_size, offset, code, words):
    with pytest.raises(InferenceServerException, match=words) as caught:
        client.register_system_shared_memory(name, key or region._shm_key if key is None else key, byte_size, offset)
    assert caught.value.status() == f"StatusCode.{code}"


@pytest.mark.parametrize(
    ("inputs", "outputs", "code", "words"),
    [
        ({"question": ("nowhere", 0)}, None, "NOT_FOUND", "Unable to find shared memory region: 'nowhere'"),
        ({"question": ("all", 1020)}, None, "INVALID_ARGUMENT", "Invalid offset . byte size for shared memory region"),
        ({"question": ("all", 4096)}, None, "INVALID_ARGUMENT", "Invalid offset for shared memory region: 'all'"),
        ({"question": ("all", -4)}, None, "INVALID_ARGUMENT", "Invalid offset for shared memory region: 'all'"),
        ({"question": ("all", 2)}, None, "INVALID_ARGUMENT", "inference input 'question'"),
        ({}, ("all", 4, 0), "INVALID_ARGUMENT", "should be at least 12 bytes to hold the results"),
        ({}, ("nowhere", 12, 0), "NOT_FOUND", "Unable to find shared memory region: 'nowhere'"),
        ({}, ("all", 12, 1020), "INVALID_ARGUMENT", "Invalid offset . byte size"),
    ],
)
def test_bad_use_of_shared_memory(client, region, inputs, outputs, code, words):
    outputs = output_in_memory(*outputs) if outputs else None
    with pytest.raises(InferenceServerException, match=words) as caught:
        client.infer("tiny-rm", inputs_in_memory(**inputs), outputs=outputs)
    assert caught.value.status() == f"StatusCode.{code}"


def test_a_region_that_shrinks_fails_one_request_and_not_the_server(client, region):
    os.truncate(f"/dev/shm{region._shm_key}", 16)
    with pytest.raises(InferenceServerException, match="has shrunk since it was registered"):
        client.infer("tiny-rm", inputs_in_memory())
    with pytest.raises(InferenceServerException, match="has shrunk since it was registered"):
        client.infer("tiny-rm", text_inputs(), outputs=output_in_memory("all", 4 * N, offset=512))
    assert client.is_server_live()
    os.truncate(f"/dev/shm{region._shm_key}", 1024)


def test_what_is_no_shared_memory_object_is_not_opened(client, tmp_path):
    link = f"rewardplane-test-link-{os.getpid()}"
    (tmp_path / "secret").write_bytes(b"x" * 64)
    os.symlink(tmp_path / "secret", f"/dev/shm/{link}")
    try:
        with pytest.raises(InferenceServerException, match="Unable to open shared memory region"):
            client.register_system_shared_memory("x", link, 64)
    finally:
        os.unlink(f"/dev/shm/{link}")


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:50210", True),
        ("ipv6:[::1]:50210", True),
        ("ipv6:%5B::1%5D:50210", True),
        ("unix:", True),
        ("ipv4:127.0.0.6:50210", False),  # what a mesh's sidecar comes from, for a caller that is anywhere
        ("ipv4:10.0.0.7:50210", False),
        ("ipv4:127.0.0.10:50210", False),
        ("ipv6:%5B2001:db8::1%5D:50210", False),
        ("", False),
    ],
)
def test_who_is_local(peer, local):
    assert is_local(peer) == local


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.connect(("192.0.2.1", 9))  # sends nothing; only chooses the interface
        except OSError:
            return None
        address = udp.getsockname()[0]
    return None if address.startswith("127.") else address


def test_peers_elsewhere_get_no_shared_memory_and_change_no_log_settings(tiny_checkpoints):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address besides loopback")
    with (
        served("reward", tiny_checkpoints / "tiny-rm", host="0.0.0.0") as server,
        triton.InferenceServerClient(f"{address}:{server.server.port}") as client,
    ):
        refused = [
            lambda: client.register_system_shared_memory("x", "/x", 64),
            lambda: client.unregister_system_shared_memory(),
            lambda: client.get_system_shared_memory_status(),
            lambda: client.infer("tiny-rm", inputs_in_memory()),
            lambda: client.infer("tiny-rm", text_inputs(), outputs=output_in_memory("all", 64)),
            lambda: client.update_log_settings({"log_info": False}),
        ]
        for call in refused:
            with pytest.raises(InferenceServerException) as caught:
                call()
            assert caught.value.status() == "StatusCode.PERMISSION_DENIED"
        assert client.infer("tiny-rm", text_inputs()).as_numpy("score").shape == (N, 1)
        assert client.get_log_settings()
