from rewardplane.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComputeLogprobsRequest(_message.Message):
    __slots__ = ("pairs", "expected_checkpoint_digest", "tokenizer_fingerprint", "temperature")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CHECKPOINT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[_types_pb2.QuestionAnswer]
    expected_checkpoint_digest: str
    tokenizer_fingerprint: str
    temperature: float
    def __init__(self, pairs: _Optional[_Iterable[_Union[_types_pb2.QuestionAnswer, _Mapping]]] = ..., expected_checkpoint_digest: _Optional[str] = ..., tokenizer_fingerprint: _Optional[str] = ..., temperature: _Optional[float] = ...) -> None: ...

class ComputeLogprobsResponse(_message.Message):
    __slots__ = ("answer_logprobs", "model_version")
    ANSWER_LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    answer_logprobs: _containers.RepeatedCompositeFieldContainer[AnswerLogprobs]
    model_version: _types_pb2.ModelVersion
    def __init__(self, answer_logprobs: _Optional[_Iterable[_Union[AnswerLogprobs, _Mapping]]] = ..., model_version: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class AnswerLogprobs(_message.Message):
    __slots__ = ("logprobs",)
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    logprobs: bytes
    def __init__(self, logprobs: _Optional[bytes] = ...) -> None: ...
