"""What travels between client and server: pairs, questions and per-token arrays.

Per-token arrays are packed little-endian bytes, one per pair and never padded; why, and what it saves, is in
docs/decisions/0001-packed-arrays.md. Client, servers and trainer all pack and unpack with these functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardplane.v1 import generation_service_pb2, types_pb2

_INT32 = np.iinfo(np.int32)


class MalformedArray(ValueError):
    """Something that is no one-dimensional array of the element type that the wire asks for."""


class MalformedPair(ValueError):
    """A pair or question that cannot be sent, or that was sent incomplete; the message says what is wrong."""


@dataclass(frozen=True, eq=False)
class TokenPair:
    """A question and an answer as token ids of the serving tokenizer. Raises MalformedArray as as_ids."""

    question_ids: NDArray[np.int32]  # [Q], Q >= 1; special tokens included, no padding
    answer_ids: NDArray[np.int32]  # [A], A >= 1; ends with a stop token if the answer ended

    def __post_init__(self) -> None:
        # So that lists and int64 arrays may be given, and every reader finds int32.
        object.__setattr__(self, "question_ids", as_ids(self.question_ids))
        object.__setattr__(self, "answer_ids", as_ids(self.answer_ids))


@dataclass(frozen=True)
class TextPair:
    """A question and an answer as text, without template and without end-of-sequence marker."""

    question: str
    answer: str


@dataclass(frozen=True)
class ChatMessage:
    """One message of a conversation; `role` in the chat template's words: "system", "user", "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatPair:
    """A conversation, oldest message first, and the answer to its last message."""

    messages: tuple[ChatMessage, ...]
    answer: str


Pair = TokenPair | TextPair | ChatPair
Question = str | NDArray[np.int32] | tuple[ChatMessage, ...]


def as_ids(ids: ArrayLike) -> NDArray[np.int32]:  # [N]
    """Gives token ids as int32, not copied when they are that already.

    Raises MalformedArray for anything but whole numbers of 32 bits in one dimension: a silent cast would turn
    id 2**32 + 5 into 5, and a float's fraction into nothing.
    """
    try:
        array = np.asarray(ids)
    except ValueError as error:  # lists of unequal length
        raise MalformedArray(f"token ids: {error}") from None
    if array.ndim != 1:
        raise MalformedArray(f"token ids have shape {list(array.shape)}; one dimension is wanted")
    if array.dtype == np.int32:
        return array
    if not array.size:
        return np.empty(0, np.int32)
    if array.dtype.kind not in "iu":
        raise MalformedArray(f"token ids are {array.dtype}; integers are wanted")
    if array.min() < _INT32.min or array.max() > _INT32.max:
        raise MalformedArray(f"token ids reach from {array.min()} to {array.max()}; int32 is wanted")
    return array.astype(np.int32)


def pack_ids(ids: ArrayLike) -> bytes:
    """Packs N token ids into 4 * N bytes, little-endian. Raises MalformedArray as as_ids does."""
    return as_ids(ids).astype("<i4", copy=False).tobytes()


def unpack_ids(data: bytes) -> NDArray[np.int32]:  # [N]
    """Reads packed token ids into an array of its own. Raises MalformedArray when len(data) % 4 is not 0."""
    return _unpack(data, "<i4", "int32").astype(np.int32)


def pack_floats(values: ArrayLike) -> bytes:
    """Packs N numbers into 4 * N bytes of float32, little-endian. Raises MalformedArray unless 1-D."""
    array = np.asarray(values, "<f4")
    if array.ndim != 1:
        raise MalformedArray(f"the numbers have shape {list(array.shape)}; one dimension is wanted")
    return array.tobytes()


def unpack_floats(data: bytes) -> NDArray[np.float32]:  # [N]
    """Reads packed float32 into an array of its own. Raises MalformedArray when len(data) % 4 is not 0."""
    return _unpack(data, "<f4", "float32").astype(np.float32)


def pair_to_proto(pair: Pair) -> types_pb2.QuestionAnswer:
    """Gives the message for a pair. Raises MalformedPair for what no server could read."""
    match pair:
        case TokenPair():
            tokens = types_pb2.TokenPair(
                question_ids=_pack_some(pair.question_ids, "question"),
                answer_ids=_pack_some(pair.answer_ids, "answer"),
            )
            return types_pb2.QuestionAnswer(tokens=tokens)
        case TextPair():
            text = types_pb2.TextPair(
                question=_text(pair.question, "the question"), answer=_text(pair.answer, "the answer")
            )
            return types_pb2.QuestionAnswer(text=text)
        case ChatPair():
            chat = types_pb2.ChatPair(
                messages=_messages_to_proto(pair.messages), answer=_text(pair.answer, "the answer")
            )
            return types_pb2.QuestionAnswer(chat=chat)


def pair_from_proto(message: types_pb2.QuestionAnswer) -> Pair:
    """Reads a pair. Raises MalformedPair when it has no form, no messages or bad token arrays."""
    match message.WhichOneof("form"):
        case "tokens":
            return TokenPair(
                _unpack_some(message.tokens.question_ids, "question"),
                _unpack_some(message.tokens.answer_ids, "answer"),
            )
        case "text":
            return TextPair(message.text.question, message.text.answer)
        case "chat":
            return ChatPair(_messages_from_proto(message.chat.messages), message.chat.answer)
    raise MalformedPair("has none of text, tokens and chat")


def question_to_proto(question: Question) -> generation_service_pb2.Question:
    """Gives the message for a question: text, int32[Q] or messages. Raises MalformedPair as pair_to_proto."""
    if isinstance(question, str):
        return generation_service_pb2.Question(text=_text(question, "the question"))
    if isinstance(question, tuple):
        conversation = generation_service_pb2.Conversation(messages=_messages_to_proto(question))
        return generation_service_pb2.Question(chat=conversation)
    return generation_service_pb2.Question(token_ids=_pack_some(question, "question"))


def question_from_proto(message: generation_service_pb2.Question) -> Question:
    """Reads a question. Raises MalformedPair when it has no form, no messages or a bad token array."""
    match message.WhichOneof("form"):
        case "text":
            return message.text
        case "token_ids":
            return _unpack_some(message.token_ids, "question")
        case "chat":
            return _messages_from_proto(message.chat.messages)
    raise MalformedPair("has none of text, token_ids and chat")


def _unpack(data: bytes, dtype: str, name: str) -> NDArray[np.generic]:
    if len(data) % 4:
        raise MalformedArray(f"{len(data)} bytes are no whole number of {name} (4 bytes each)")
    # The callers' astype copies: frombuffer's view is read-only, which torch.from_numpy warns about.
    return np.frombuffer(data, dtype)


def _pack_some(ids: NDArray[np.int32], name: str) -> bytes:
    if not len(ids):
        raise MalformedPair(f"the {name} has no tokens")
    return pack_ids(ids)


def _unpack_some(data: bytes, name: str) -> NDArray[np.int32]:
    if not data:
        raise MalformedPair(f"the {name} has no tokens")
    try:
        return unpack_ids(data)
    except MalformedArray as error:
        raise MalformedPair(f"the {name}'s token ids: {error}") from None


def _text(value: str, name: str) -> str:
    if not isinstance(value, str):
        raise MalformedPair(f"{name} is {type(value).__name__}; text is wanted")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, from a file read with surrogateescape
        raise MalformedPair(f"{name} is no valid Unicode at character {error.start}") from None
    return value


def _messages_to_proto(messages: Iterable[ChatMessage]) -> list[types_pb2.ChatMessage]:
    protos = [
        types_pb2.ChatMessage(
            role=_text(m.role, f"messages[{i}].role"), content=_text(m.content, f"messages[{i}].content")
        )
        for i, m in enumerate(messages)
    ]
    if not protos:
        raise MalformedPair("the conversation has no messages")
    return protos


def _messages_from_proto(messages: Iterable[types_pb2.ChatMessage]) -> tuple[ChatMessage, ...]:
    read = tuple(ChatMessage(m.role, m.content) for m in messages)
    if not read:
        raise MalformedPair("the conversation has no messages")
    return read
