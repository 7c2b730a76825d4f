from rewardplane.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason

class GenerateAnswersRequest(_message.Message):
    __slots__ = ("questions", "answers_per_question", "max_answer_tokens", "temperature", "seed", "expected_checkpoint_digest", "tokenizer_fingerprint")
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_PER_QUESTION_FIELD_NUMBER: _ClassVar[int]
    MAX_ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_CHECKPOINT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    questions: _containers.RepeatedCompositeFieldContainer[Question]
    answers_per_question: int
    max_answer_tokens: int
    temperature: float
    seed: int
    expected_checkpoint_digest: str
    tokenizer_fingerprint: str
    def __init__(self, questions: _Optional[_Iterable[_Union[Question, _Mapping]]] = ..., answers_per_question: _Optional[int] = ..., max_answer_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ..., expected_checkpoint_digest: _Optional[str] = ..., tokenizer_fingerprint: _Optional[str] = ...) -> None: ...

class Question(_message.Message):
    __slots__ = ("text", "token_ids", "chat")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_ids: bytes
    chat: Conversation
    def __init__(self, text: _Optional[str] = ..., token_ids: _Optional[bytes] = ..., chat: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_types_pb2.ChatMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[_types_pb2.ChatMessage, _Mapping]]] = ...) -> None: ...

class GenerateAnswersResponse(_message.Message):
    __slots__ = ("answers", "model_version")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[GeneratedAnswer]
    model_version: _types_pb2.ModelVersion
    def __init__(self, answers: _Optional[_Iterable[_Union[GeneratedAnswer, _Mapping]]] = ..., model_version: _Optional[_Union[_types_pb2.ModelVersion, _Mapping]] = ...) -> None: ...

class GeneratedAnswer(_message.Message):
    __slots__ = ("text", "tokens", "logprobs", "finish_reason")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    text: str
    tokens: _types_pb2.TokenPair
    logprobs: bytes
    finish_reason: FinishReason
    def __init__(self, text: _Optional[str] = ..., tokens: _Optional[_Union[_types_pb2.TokenPair, _Mapping]] = ..., logprobs: _Optional[bytes] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ...) -> None: ...
