import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rewardplane.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScoreKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_KIND_UNSPECIFIED: _ClassVar[ScoreKind]
    SCORE_KIND_REWARD: _ClassVar[ScoreKind]
    SCORE_KIND_LOGPROB_SUM: _ClassVar[ScoreKind]
    SCORE_KIND_IMPLICIT_REWARD: _ClassVar[ScoreKind]
SCORE_KIND_UNSPECIFIED: ScoreKind
SCORE_KIND_REWARD: ScoreKind
SCORE_KIND_LOGPROB_SUM: ScoreKind
SCORE_KIND_IMPLICIT_REWARD: ScoreKind

class GetModelInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelInfoResponse(_message.Message):
    __slots__ = ("model_info",)
    MODEL_INFO_FIELD_NUMBER: _ClassVar[int]
    model_info: ModelInfo
    def __init__(self, model_info: _Optional[_Union[ModelInfo, _Mapping]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("model_version", "tokenizer_fingerprint", "dtype", "score_kind", "max_pair_tokens", "max_request_pairs", "max_request_bytes", "max_batch_tokens", "load_time", "vocabulary_size", "stop_token_ids")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SCORE_KIND_FIELD_NUMBER: _ClassVar[int]
    MAX_PAIR_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_PAIRS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOAD_TIME_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    STOP_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    model_version: _types_pb2.ModelVersion
    tokenizer_fingerprint: str
    dtype: str
    score_kind: ScoreKind
    max_pair_tokens: int
    max_request_pairs: int
    max_request_bytes: int
    max_batch_tokens: int
    load_time: _timestamp_pb2.Timestamp
    vocabulary_size: int
    stop_token_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model_version: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ..., tokenizer_fingerprint: _Optional[str] = ..., dtype: _Optional[str] = ..., score_kind: _Optional[_Union[ScoreKind, str]] = ..., max_pair_tokens: _Optional[int] = ..., max_request_pairs: _Optional[int] = ..., max_request_bytes: _Optional[int] = ..., max_batch_tokens: _Optional[int] = ..., load_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., vocabulary_size: _Optional[int] = ..., stop_token_ids: _Optional[_Iterable[int]] = ...) -> None: ...
