"""A KServe v2 server that is none of ours: one model, whose signature and replies a test says. No model behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

TEXT_INPUTS = (("question", "BYTES", (-1, 1)), ("answer", "BYTES", (-1, 1)))
SCORE = (("score", "FP32", (-1, 1)),)


@dataclass
class KServePeer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Its score of a pair is `score_of(question, answer)`; remembers each request as (version, shapes, pairs)."""

    score_of: Callable[[str, str], float]
    inputs: Sequence[tuple[str, str, tuple[int, ...]]] = TEXT_INPUTS
    outputs: Sequence[tuple[str, str, tuple[int, ...]]] = SCORE
    versions: Sequence[str] = ("1",)
    max_batch_size: int | None = 8
    """None has no ModelConfig at all, as KServe's and MLServer's Python servers."""
    optional: Sequence[str] = ()
    says: Mapping[str, Any] = field(default_factory=dict)
    """What is unusual about its replies: `model_version`, `rows` too few, numbers `typed` and not raw."""
    requests: list[tuple[str, list[list[int]], list[tuple[str, str]]]] = field(default_factory=list)

    def ModelMetadata(self, request, context):
        if request.name != "rm":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        response = service_pb2.ModelMetadataResponse(name="rm", versions=self.versions, platform="peer")
        for tensors, into in ((self.inputs, response.inputs), (self.outputs, response.outputs)):
            for name, datatype, shape in tensors:
                into.add(name=name, datatype=datatype, shape=shape)
        return response

    def ModelConfig(self, request, context):
        if self.max_batch_size is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        response = service_pb2.ModelConfigResponse()
        response.config.max_batch_size = self.max_batch_size
        for name, _, _ in self.inputs:
            response.config.input.add(name=name, optional=name in self.optional)
        return response

    def ModelInfer(self, request, context):
        if request.model_version not in (*self.versions, ""):
            words = f"Request for unknown model: 'rm' version {request.model_version} is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, words)
        columns = [[text.decode() for text in deserialize_bytes_tensor(raw)] for raw in request.raw_input_contents]
        pairs = list(zip(*columns, strict=True))
        self.requests.append((request.model_version, [list(tensor.shape) for tensor in request.inputs], pairs))
        scores = np.array([[self.score_of(*pair)] for pair in pairs], np.float32)
        response = service_pb2.ModelInferResponse(
            model_name="rm", model_version=self.says.get("model_version", self.versions[-1] if self.versions else "")
        )
        name, datatype, _ = self.outputs[0]
        output = response.outputs.add(name=name, datatype=datatype, shape=list(scores.shape))
        if self.says.get("typed"):
            output.contents.fp32_contents.extend(scores[:, 0])
        else:
            response.raw_output_contents.append(scores[: self.says.get("rows", len(scores))].tobytes())
        return response


@contextlib.contextmanager
def serving(peer: KServePeer) -> Iterator[str]:
    """Gives the judge's target."""
    server = grpc.server(ThreadPoolExecutor(1))  # one: requests keep their order
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"kserve://127.0.0.1:{port}/rm"
    finally:
        server.stop(grace=None).wait()
