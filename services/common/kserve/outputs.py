"""From arrays to the tensors of a ModelInferResponse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest, Unimplemented
from rewardplane.v1 import types_pb2

from .shared_memory import Region, Regions, region_of
from .signature import LOGPROB_LENGTHS, LOGPROBS, kserve_version
from .tensors import NUMPY_TYPES, TensorSpec, bad_tensor

Results = Mapping[str, NDArray[Any]]
"""An array for each output: score float32[n, 1], logprobs float32[n, A], logprob_lengths int32[n, 1]."""


@dataclass(frozen=True)
class WantedOutput:
    """An output that is asked for, and where its bytes go when not into the response."""

    spec: TensorSpec
    region: Region | None = None
    offset: int = 0
    byte_size: int = 0


def read_outputs(
    request: Any, served: Sequence[TensorSpec], regions: Regions, peer_is_local: bool
) -> list[WantedOutput]:
    """The wanted outputs, in the model's order as Triton gives them; none named is all of them.

    Raises InvalidRequest for unknown ones, Unimplemented for the classification extension, and what
    `region_of` raises.
    """
    by_name = {spec.name: spec for spec in served}
    wanted: dict[str, WantedOutput] = {}
    for tensor in request.outputs:
        if tensor.name not in by_name:
            raise bad_tensor(f"unexpected inference output '{tensor.name}' for model '{request.model_name}'")
        if "classification" in tensor.parameters:
            raise Unimplemented(
                f"the classification extension is not supported: '{tensor.name}' is a number",
                reason="NOT_SUPPORTED",
            )
        in_memory = region_of(tensor, regions, peer_is_local)
        wanted[tensor.name] = WantedOutput(by_name[tensor.name], *(in_memory or ()))
    if not wanted:
        return [WantedOutput(spec) for spec in served]
    return [wanted[name] for name in by_name if name in wanted]


def build_response(
    request: Any, wanted: Sequence[WantedOutput], results: Results, version: types_pb2.ModelVersion
) -> Any:
    """The ModelInferResponse. Writes outputs into shared memory, and raises InvalidRequest where that is too
    small."""
    response = service_pb2.ModelInferResponse(
        model_name=request.model_name, model_version=kserve_version(version), id=request.id
    )
    response.parameters["checkpoint_digest"].string_param = version.checkpoint_digest
    for output in wanted:
        array = results[output.spec.name]
        data = array.astype(NUMPY_TYPES[output.spec.datatype], copy=False).tobytes()
        response.outputs.add(name=output.spec.name, datatype=output.spec.datatype, shape=array.shape)
        if output.region is None:
            response.raw_output_contents.append(data)
            continue
        if len(data) > output.byte_size:
            raise InvalidRequest(
                f"shared memory size specified with the request for output '{output.spec.name}' "
                f"({output.byte_size} bytes) should be at least {len(data)} bytes to hold the results",
                reason="INVALID_REGION",
            )
        output.region.write(output.offset, data)
        response.raw_output_contents.append(b"")  # as_numpy finds contents by the output's index
    return response


def pad_logprobs(logprobs: Sequence[NDArray[np.float32]], width: int) -> dict[str, NDArray[Any]]:
    """Log-probs float32[n, A], padded with 0, and how many of them each answer has, int32[n, 1].

    A is that of the longest answer, or `width` where that is more: log-probs of ids have the shape of the ids.
    """
    lengths = np.array([[len(row)] for row in logprobs], np.int32)
    padded = np.zeros((len(logprobs), max(width, int(lengths.max()))), np.float32)
    for i, row in enumerate(logprobs):
        padded[i, : len(row)] = row
    return {LOGPROBS.name: padded, LOGPROB_LENGTHS.name: lengths}
