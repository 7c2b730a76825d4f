from rewardplane.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreAnswersRequest(_message.Message):
    __slots__ = ("pairs", "expected_checkpoint_digest", "tokenizer_fingerprint")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CHECKPOINT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[_types_pb2.QuestionAnswer]
    expected_checkpoint_digest: str
    tokenizer_fingerprint: str
    def __init__(self, pairs: _Optional[_Iterable[_Union[_types_pb2.QuestionAnswer, _Mapping]]] = ..., expected_checkpoint_digest: _Optional[str] = ..., tokenizer_fingerprint: _Optional[str] = ...) -> None: ...

class ScoreAnswersResponse(_message.Message):
    __slots__ = ("scores", "model_version")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    model_version: _types_pb2.ModelVersion
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., model_version: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ...) -> None: ...
