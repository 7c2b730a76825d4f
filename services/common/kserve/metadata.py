"""Server metadata, model metadata and model configuration."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from rewardplane.v1 import model_service_pb2

from ..engine import Engine
from .signature import INPUTS, kserve_version, outputs
from .tensors import TensorSpec

SERVER_NAME = "rewardplane"
EXTENSIONS = (
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""Those that work in full. Clients go by them: perf_analyzer asks for statistics only if they are listed."""
CONTROL_EXTENSIONS = ("model_repository", "model_repository(unload_dependents)")

DATA_TYPES = {
    "BYTES": model_config_pb2.TYPE_STRING,
    "INT32": model_config_pb2.TYPE_INT32,
    "FP32": model_config_pb2.TYPE_FP32,
}


def server_metadata(*, explicit_control: bool) -> Any:
    """A ServerMetadataResponse."""
    extensions = (*EXTENSIONS, *(CONTROL_EXTENSIONS if explicit_control else ()))
    return service_pb2.ServerMetadataResponse(name=SERVER_NAME, version=version("rewardplane"), extensions=extensions)


def model_metadata(engine: Engine) -> Any:
    """A ModelMetadataResponse, shapes with the batch dimension. Raises Unavailable while the model loads."""
    return service_pb2.ModelMetadataResponse(
        name=engine.name,
        versions=[kserve_version(engine.model_version())],
        platform=SERVER_NAME,
        inputs=[_tensor_metadata(spec) for spec in INPUTS.values()],
        outputs=[_tensor_metadata(spec) for spec in outputs(engine)],
    )


def model_config(engine: Engine) -> Any:
    """A ModelConfigResponse, shapes without the batch dimension. Raises Unavailable while the model loads."""
    info = engine.info()
    kind = model_config_pb2.ModelInstanceGroup.KIND_GPU if engine.config.device == "cuda" else (
        model_config_pb2.ModelInstanceGroup.KIND_CPU
    )  # fmt: skip
    config = model_config_pb2.ModelConfig(
        name=engine.name,
        backend=SERVER_NAME,
        version_policy={"latest": {"num_versions": 1}},
        max_batch_size=info.max_request_pairs,
        input=[
            model_config_pb2.ModelInput(
                name=spec.name, data_type=DATA_TYPES[spec.datatype], dims=spec.dims, optional=True
            )
            for spec in INPUTS.values()
        ],
        output=[
            model_config_pb2.ModelOutput(name=spec.name, data_type=DATA_TYPES[spec.datatype], dims=spec.dims)
            for spec in outputs(engine)
        ],
        instance_group=[{"name": engine.name, "kind": kind, "count": 1}],
        dynamic_batching={},
        model_transaction_policy={"decoupled": False},
    )
    for key, value in _facts(info).items():
        config.parameters[key].string_value = value
    return service_pb2.ModelConfigResponse(config=config)


def _facts(info: model_service_pb2.ModelInfo) -> dict[str, str]:
    """What ModelService says and KServe v2 has no field for."""
    return {
        "checkpoint_digest": info.model_version.checkpoint_digest,
        "tokenizer_fingerprint": info.tokenizer_fingerprint,
        "dtype": info.dtype,
        "score_kind": model_service_pb2.ScoreKind.Name(info.score_kind),
        "max_pair_tokens": str(info.max_pair_tokens),
        "max_batch_tokens": str(info.max_batch_tokens),
        "vocabulary_size": str(info.vocabulary_size),
        "stop_token_ids": ",".join(map(str, info.stop_token_ids)),
    }


def _tensor_metadata(spec: TensorSpec) -> Any:
    return service_pb2.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=(-1, *spec.dims)
    )
