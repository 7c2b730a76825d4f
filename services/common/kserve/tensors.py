"""How KServe v2 writes tensors as bytes: little-endian, row-major, each element of BYTES after its length.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md
(«Raw Tensor Data»). The words of the errors are Triton's, so that its users know them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rewardplane.errors import InvalidRequest

Datatype = Literal["BYTES", "INT32", "FP32"]
NUMPY_TYPES: dict[Datatype, str] = {"INT32": "<i4", "FP32": "<f4"}
CONTENTS_FIELDS: dict[Datatype, str] = {"BYTES": "bytes_contents", "INT32": "int_contents"}
"""Where InferTensorContents holds typed elements; only the types of inputs."""
LENGTH_BYTES = 4


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the model's signature."""

    name: str
    datatype: Datatype
    dims: tuple[int, ...]
    """Without the batch dimension; -1 is any size."""
    flat: bool = False
    """Whether a batch may come as [n] in place of [n, 1]."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """An input tensor of a request."""

    shape: tuple[int, ...]
    values: NDArray[np.int32] | list[bytes]  # int32[shape], or BYTES in row-major order


def bad_tensor(message: str) -> InvalidRequest:
    """The fault for a tensor that is not what the model's signature says."""
    return InvalidRequest(message, reason="INVALID_TENSOR")


def encode_bytes(elements: Iterable[bytes]) -> bytes:
    """Writes BYTES elements: for each, its length as uint32, little-endian, and itself."""
    return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in elements)


def decode_bytes(data: bytes, count: int, tensor: str) -> list[bytes]:
    """Reads `count` elements. Raises InvalidRequest for more, fewer or torn ones, and calls them `tensor`."""
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        if at + LENGTH_BYTES > len(data):
            raise bad_tensor(
                f"incomplete string length indicator for {tensor}, expecting {LENGTH_BYTES} bytes "
                f"but only {len(data) - at} bytes available"
            )
        if len(elements) == count:
            raise bad_tensor(f"unexpected number of string elements {count + 1} for {tensor}, expecting {count}")
        length = int.from_bytes(data[at : at + LENGTH_BYTES], "little")
        at += LENGTH_BYTES
        if at + length > len(data):
            raise bad_tensor(
                f"incomplete string data for {tensor}, expecting string of length {length} "
                f"but only {len(data) - at} bytes available"
            )
        elements.append(data[at : at + length])
        at += length
    if len(elements) != count:
        raise bad_tensor(f"expected {count} string elements for {tensor}, got {len(elements)}")
    return elements


def from_raw(data: bytes, spec: TensorSpec, shape: Sequence[int], tensor: str) -> Tensor:
    """Reads a tensor of `shape` from its raw bytes. Raises InvalidRequest when there are more or fewer."""
    count = math.prod(shape)
    if spec.datatype == "BYTES":
        return Tensor(tuple(shape), decode_bytes(data, count, tensor))
    expected = count * LENGTH_BYTES
    if len(data) != expected:
        raise bad_tensor(f"input byte size mismatch for {tensor}. Expected {expected}, got {len(data)}")
    return Tensor(tuple(shape), np.frombuffer(data, "<i4").astype(np.int32).reshape(shape))


def from_contents(contents: Any, spec: TensorSpec, shape: Sequence[int], tensor: str) -> Tensor:
    """Reads a tensor of `shape` from InferTensorContents. Raises InvalidRequest for other types or counts."""
    wanted = CONTENTS_FIELDS[spec.datatype]
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise bad_tensor(
                f"unexpected explicit tensor data for {tensor} in '{field.name}', expected datatype '{spec.datatype}'"
            )
    elements = getattr(contents, wanted)
    count = math.prod(shape)
    if len(elements) != count:
        kind = "string " if spec.datatype == "BYTES" else ""
        raise bad_tensor(f"expected {count} {kind}elements for {tensor}, got {len(elements)}")
    if spec.datatype == "BYTES":
        return Tensor(tuple(shape), list(elements))
    return Tensor(tuple(shape), np.array(elements, np.int32).reshape(shape))
