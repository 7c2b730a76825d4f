"""Requests that no client would send: messages of a method's own type with odd values, and bytes that are none.

Everything comes from one random.Random, so a seed repeats a request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

from rewardplane.v1 import (
    generation_service_pb2,
    logprob_service_pb2,
    model_service_pb2,
    scoring_service_pb2,
    types_pb2,
)

KSERVE = "/inference.GRPCInferenceService"
REQUEST_TYPES: Mapping[str, type[Message]] = {
    "/rewardplane.v1.ScoringService/ScoreAnswers": scoring_service_pb2.ScoreAnswersRequest,
    "/rewardplane.v1.LogprobService/ComputeLogprobs": logprob_service_pb2.ComputeLogprobsRequest,
    "/rewardplane.v1.GenerationService/GenerateAnswers": generation_service_pb2.GenerateAnswersRequest,
    "/rewardplane.v1.ModelService/GetModelInfo": model_service_pb2.GetModelInfoRequest,
    f"{KSERVE}/ModelInfer": service_pb2.ModelInferRequest,
    f"{KSERVE}/ModelReady": service_pb2.ModelReadyRequest,
    f"{KSERVE}/ModelMetadata": service_pb2.ModelMetadataRequest,
    f"{KSERVE}/ModelConfig": service_pb2.ModelConfigRequest,
    f"{KSERVE}/ModelStatistics": service_pb2.ModelStatisticsRequest,
    f"{KSERVE}/RepositoryIndex": service_pb2.RepositoryIndexRequest,
    f"{KSERVE}/RepositoryModelLoad": service_pb2.RepositoryModelLoadRequest,
    f"{KSERVE}/TraceSetting": service_pb2.TraceSettingRequest,
    f"{KSERVE}/LogSettings": service_pb2.LogSettingsRequest,
    f"{KSERVE}/SystemSharedMemoryRegister": service_pb2.SystemSharedMemoryRegisterRequest,
    f"{KSERVE}/SystemSharedMemoryStatus": service_pb2.SystemSharedMemoryStatusRequest,
    f"{KSERVE}/SystemSharedMemoryUnregister": service_pb2.SystemSharedMemoryUnregisterRequest,
    f"{KSERVE}/CudaSharedMemoryRegister": service_pb2.CudaSharedMemoryRegisterRequest,
}
STREAM = f"{KSERVE}/ModelStreamInfer"
"""Takes many ModelInferRequests."""
MOSTLY = (*list(REQUEST_TYPES)[:3], f"{KSERVE}/ModelInfer")
"""The methods that read much, and so are asked most."""

INTEGERS = (0, 1, 2, -1, 3, 255, 1 << 20, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (32, True),
    FieldDescriptor.CPPTYPE_UINT32: (32, False),
    FieldDescriptor.CPPTYPE_INT64: (64, True),
    FieldDescriptor.CPPTYPE_UINT64: (64, False),
}


@dataclass(frozen=True)
class Request:
    """What is sent, whatever it is."""

    method: str
    payloads: tuple[bytes, ...]
    """One; several to the method that takes a stream."""


class Malformed:
    """Endless requests to one served model."""

    def __init__(self, seed: int, model_name: str, fingerprint: str) -> None:
        self._rng = random.Random(seed)
        self._words = (
            "", model_name, fingerprint, "question", "answer", "question_ids", "question_lengths", "answer_ids",
            "answer_lengths", "score", "logprobs", "logprob_lengths", "BYTES", "INT32", "FP32", "INT64", "1", "-1",
            "temperature", "timeout", "priority", "sequence_id", "triton_", "shared_memory_region",
            "shared_memory_byte_size", "shared_memory_offset", "classification", "binary_data", "log_info",
            "log_verbose_level", "trace_level", "trace_rate", "../../etc/passwd", "\x00", "é" * 9, "\U0001f600",
            "9" * 5000, "user",
        )  # fmt: skip
        self._valid = _valid_requests(model_name, fingerprint)

    def __next__(self) -> Request:
        method = self._rng.choice(MOSTLY if self._rng.random() < 0.7 else tuple(REQUEST_TYPES))
        if method.endswith("ModelInfer") and self._rng.random() < 0.1:
            return Request(STREAM, tuple(self._payload(method) for _ in range(self._rng.randrange(4))))
        if self._rng.random() < 0.02:
            method = f"/{self._rng.choice(self._words[:20])}/{self._rng.choice(self._words[:20])}"
            return Request(method, (self._rng.randbytes(20),))
        return Request(method, (self._payload(method),))

    def _payload(self, method: str) -> bytes:
        make: Callable[[str], bytes] = self._rng.choice(
            (self._bytes, self._grown, self._changed, self._changed, self._torn)
        )
        return make(method)

    def _bytes(self, method: str) -> bytes:
        return self._rng.randbytes(self._rng.randrange(200))

    def _grown(self, method: str) -> bytes:
        """Of the method's type, every field with anything in it."""
        message = REQUEST_TYPES[method]()
        self._fill(message, depth=0)
        return message.SerializeToString()

    def _changed(self, method: str) -> bytes:
        """A valid request with one to three fields that are not."""
        message = self._valid_request(method)
        for _ in range(self._rng.randint(1, 3)):
            self._change(message)
        return message.SerializeToString()

    def _torn(self, method: str) -> bytes:
        """A valid request with bytes changed, cut out, cut off or there twice."""
        data = bytearray(self._valid_request(method).SerializeToString())
        for _ in range(self._rng.randint(1, 4)):
            at = self._rng.randrange(len(data) + 1)
            upto = at + self._rng.randrange(12)
            data[at:upto] = self._rng.choice((b"", self._rng.randbytes(3), data[at:upto] * 2, b"\xff" * 9))
        return bytes(data)

    def _valid_request(self, method: str) -> Message:
        message = REQUEST_TYPES[method]()
        if method in self._valid:
            message.CopyFrom(self._rng.choice(self._valid[method]))
        return message

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if depth < 5 and self._rng.random() < 0.5:
                self._set(message, field, depth)

    def _change(self, message: Message) -> None:
        """Goes down to a random place, and changes one field there."""
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        field = self._rng.choice(fields)
        if field.message_type is not None and not _is_map(field) and self._rng.random() < 0.8:
            below = getattr(message, field.name)
            if not field.is_repeated or len(below):
                self._change(self._rng.choice(below) if field.is_repeated else below)
                return
        if self._rng.random() < 0.2:
            message.ClearField(field.name)
        else:
            self._set(message, field, depth=3)

    def _set(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if _is_map(field):
            value = field.message_type.fields_by_name["value"]
            entries = getattr(message, field.name)
            key = self._rng.choice(self._words)
            if value.message_type is None:
                entries[key] = self._scalar(value)
            else:
                self._fill(entries[key], depth + 1)
        elif field.message_type is not None:
            held = getattr(message, field.name)
            for part in [held.add() for _ in range(self._rng.randrange(4))] if field.is_repeated else [held]:
                self._fill(part, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(self._scalar(field) for _ in range(self._rng.randrange(5)))
        else:
            setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        kind = field.cpp_type
        if kind in _BITS:
            bits, signed = _BITS[kind]
            least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            return self._rng.choice([n for n in INTEGERS if least <= n <= most])
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._rng.random() < 0.5
        if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return self._rng.choice(FLOATS)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self._rng.randrange(20)
        if field.type == FieldDescriptor.TYPE_STRING:
            return self._rng.choice(self._words)
        ids = np.array(
            [self._rng.choice((3, 4, 299, 320, -1, 2**31 - 1)) for _ in range(self._rng.randrange(9))], "<i4"
        )
        return self._rng.choice((ids.tobytes(), ids.tobytes()[:-1], self._rng.randbytes(9), _element(b"word"), b""))


def random_http2(rng: random.Random) -> bytes:
    """What a connection may begin with: noise, or the preface of HTTP/2 and frames of any kind."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(1, 300))
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"  # empty SETTINGS
    for _ in range(rng.randrange(1, 6)):
        body = rng.randbytes(rng.randrange(60))
        length = len(body) if rng.random() < 0.8 else rng.randrange(1 << 24)
        stream = rng.choice((0, 1, 2, 3, 2**31 - 1))
        data += length.to_bytes(3, "big") + bytes((rng.randrange(12), rng.randrange(256))) + stream.to_bytes(4, "big")
        data += body
    return data


def _valid_requests(model_name: str, fingerprint: str) -> dict[str, Sequence[Message]]:
    ids = np.arange(3, 9, dtype="<i4").tobytes()
    message = types_pb2.ChatMessage(role="user", content="Was it good?")
    pairs = [
        types_pb2.QuestionAnswer(text=types_pb2.TextPair(question="Was it good?", answer="Yes.")),
        types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(question_ids=ids, answer_ids=ids)),
        types_pb2.QuestionAnswer(chat=types_pb2.ChatPair(messages=[message], answer="Yes.")),
    ]
    question = generation_service_pb2.Question(text="Was it good?")
    text, tokens = (service_pb2.ModelInferRequest(model_name=model_name) for _ in range(2))
    for name in ("question", "answer"):
        text.inputs.add(name=name, datatype="BYTES", shape=[2, 1])
        text.raw_input_contents.append(_element(b"why") + _element(b"not"))
        tokens.inputs.add(name=f"{name}_ids", datatype="INT32", shape=[1, 6])
        tokens.inputs.add(name=f"{name}_lengths", datatype="INT32", shape=[1, 1])
        tokens.raw_input_contents.extend([ids, ids[4:8]])
    scoring, logprobs, generation, infer = MOSTLY
    return {
        scoring: [scoring_service_pb2.ScoreAnswersRequest(pairs=pairs, tokenizer_fingerprint=fingerprint)],
        logprobs: [logprob_service_pb2.ComputeLogprobsRequest(pairs=pairs, tokenizer_fingerprint=fingerprint)],
        generation: [generation_service_pb2.GenerateAnswersRequest(questions=[question], max_answer_tokens=2)],
        infer: [text, tokens],
    }


def _element(data: bytes) -> bytes:
    """One element of BYTES."""
    return len(data).to_bytes(4, "little") + data


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
