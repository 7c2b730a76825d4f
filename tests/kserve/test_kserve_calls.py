"""What tritonclient calls besides inference. Expected values are those of Triton 2.51 where it has them."""

from __future__ import annotations

import grpc
import pytest
import tritonclient.grpc.aio as triton_aio
from kserve_requests import text_inputs
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import Server, running_server
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from rewardplane import Client

REFUSED = {"RepositoryModelLoad", "RepositoryModelUnload", "CudaSharedMemoryRegister"}


def test_every_call_of_the_service_is_there(stub):
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    unimplemented = set()
    for method in service.methods:
        request = service_pb2.__dict__[method.input_type.name]()
        call = getattr(stub, method.name)
        try:
            list(call(iter([request]))) if method.name == "ModelStreamInfer" else call(request)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                unimplemented.add(method.name)
    assert unimplemented == REFUSED


def test_a_server_is_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()


def test_only_the_served_version_of_the_served_model_is_ready(client, reward):
    assert client.is_model_ready("tiny-rm")
    assert client.is_model_ready("tiny-rm", "1")
    assert not client.is_model_ready("tiny-rm", "2")
    assert not client.is_model_ready("nothing")
    with pytest.raises(InferenceServerException, match="specified version string 'x'"):
        client.is_model_ready("tiny-rm", "x")


def test_server_metadata_lists_the_extensions_that_work(client):
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "rewardplane"
    assert set(metadata["extensions"]) == {
        "model_configuration", "system_shared_memory", "binary_tensor_data", "parameters", "statistics", "trace",
        "logging",
    }  # fmt: skip


def test_metadata_and_config_of_a_reward_model_agree(client, reward):
    metadata = client.get_model_metadata("tiny-rm")
    config = client.get_model_config("tiny-rm").config
    assert metadata.name == config.name == "tiny-rm"
    assert list(metadata.versions) == ["1"]  # a model that PPO did not touch
    assert config.max_batch_size == 8
    shapes = {tensor.name: list(tensor.shape) for tensor in (*metadata.inputs, *metadata.outputs)}
    assert shapes == {
        "question": [-1, 1], "answer": [-1, 1], "question_ids": [-1, -1], "question_lengths": [-1, 1],
        "answer_ids": [-1, -1], "answer_lengths": [-1, 1], "score": [-1, 1],
    }  # fmt: skip
    for tensor in (*config.input, *config.output):
        assert [-1, *tensor.dims] == shapes[tensor.name]
    assert all(tensor.optional for tensor in config.input)
    assert config.input[0].data_type == model_config_pb2.TYPE_STRING
    assert config.HasField("dynamic_batching")
    assert not config.model_transaction_policy.decoupled


def test_config_says_what_get_model_info_says(client, reward):
    with Client(reward.target) as native:
        info = native.info()
    parameters = {k: v.string_value for k, v in client.get_model_config("tiny-rm").config.parameters.items()}
    assert parameters["checkpoint_digest"] == info.model_version.checkpoint_digest
    assert parameters["tokenizer_fingerprint"] == info.tokenizer_fingerprint
    assert parameters["score_kind"] == "SCORE_KIND_REWARD"
    assert parameters["max_pair_tokens"] == "256"
    assert parameters["stop_token_ids"] == "1"


def test_a_policy_has_log_probs_too_and_its_update_is_its_version(policy_client, policy):
    metadata = policy_client.get_model_metadata("tiny-policy")
    assert [(t.name, t.datatype) for t in metadata.outputs] == [
        ("score", "FP32"), ("logprobs", "FP32"), ("logprob_lengths", "INT32"),
    ]  # fmt: skip
    assert list(metadata.versions) == ["3"]


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config"])
@pytest.mark.parametrize(
    ("model", "version", "code", "words"),
    [
        ("nothing", "", "NOT_FOUND", "Request for unknown model: 'nothing' is not found"),
        ("", "", "NOT_FOUND", "Request for unknown model: '' is not found"),
        ("tiny-rm", "9", "NOT_FOUND", "Request for unknown model: 'tiny-rm' version 9 is not found"),
        ("tiny-rm", "0", "NOT_FOUND", "Request for unknown model: 'tiny-rm' version 0 is not found"),
        ("tiny-rm", "x", "INVALID_ARGUMENT", "version should be an integral value > 0"),
        ("tiny-rm", "-3", "INVALID_ARGUMENT", "invalid model version specified '-3'"),
    ],
)
def test_unknown_models_and_versions(client, call, model, version, code, words):
    with pytest.raises(InferenceServerException, match=words) as caught:
        getattr(client, call)(model, version)
    assert caught.value.status() == f"StatusCode.{code}"


def test_the_index_has_one_model(client):
    index = client.get_model_repository_index(as_json=True)
    assert index == {"models": [{"name": "tiny-rm", "version": "1", "state": "READY"}]}


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
@pytest.mark.parametrize("model", ["tiny-rm", "nothing"])
def test_nobody_loads_or_unloads_models(client, call, model):
    with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed") as caught:
        getattr(client, call)(model)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    assert client.is_model_ready("tiny-rm")


def test_named_repositories_are_refused_as_by_triton(stub):
    with pytest.raises(grpc.RpcError, match="'repository_name' specification is not supported"):
        stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(repository_name="other"))


def test_cuda_shared_memory_is_empty_and_refused(client):
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="CUDA shared memory is not supported") as caught:
        client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64)
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


async def test_a_server_without_its_model_is_live_and_not_ready(tiny_checkpoints):
    server = Server("reward", tiny_checkpoints / "tiny-rm", ServerConfig(threads=1))
    await server.open()
    try:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_live()
            assert not await client.is_server_ready()
            assert not await client.is_model_ready("tiny-rm")
            assert not await client.is_model_ready("tiny-rm", "1")
            index = await client.get_model_repository_index()
            assert [(m.name, m.version, m.state) for m in index.models] == [("tiny-rm", "", "LOADING")]
            for call in (client.get_model_config, client.get_model_metadata, client.get_inference_statistics):
                with pytest.raises(InferenceServerException, match="still being loaded") as caught:
                    await call("tiny-rm")
                assert caught.value.status() == "StatusCode.UNAVAILABLE"
            with pytest.raises(InferenceServerException, match="still being loaded"):
                await client.infer("tiny-rm", text_inputs())
    finally:
        await server.stop()


async def test_a_draining_server_is_not_ready(tiny_checkpoints):
    async with (
        running_server("reward", tiny_checkpoints / "tiny-rm", ServerConfig(threads=1)) as server,
        triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        assert await client.is_server_ready()
        await server.engine.drain(1.0)
        assert await client.is_server_live()
        assert not await client.is_server_ready()
        assert not await client.is_model_ready("tiny-rm")
        assert (await client.get_model_repository_index()).models[0].state == "UNLOADING"
        with pytest.raises(InferenceServerException, match="shutting down") as caught:
            await client.infer("tiny-rm", text_inputs())
        assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_the_index_of_ready_models_is_that_of_one_that_serves(stub):
    assert len(stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True)).models) == 1
