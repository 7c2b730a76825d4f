"""The wire format against bytes written by hand, and its inverse for whatever hypothesis thinks of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rewardplane.v1 import generation_service_pb2, types_pb2
from rewardplane.wire import (
    ChatMessage,
    ChatPair,
    MalformedArray,
    MalformedPair,
    TextPair,
    TokenPair,
    pack_floats,
    pack_ids,
    pair_from_proto,
    pair_to_proto,
    question_from_proto,
    question_to_proto,
    unpack_floats,
    unpack_ids,
)

ids = npst.arrays(np.int32, st.integers(1, 40))
text = st.text()  # no lone surrogates
messages = st.lists(st.builds(ChatMessage, text, text), min_size=1, max_size=4).map(tuple)


def test_golden_bytes_of_ids():
    # Two's complement, least significant byte first: 258 = 0x102, -1 = 0xffffffff, 2**31 - 1 = 0x7fffffff.
    assert pack_ids([1]) == b"\x01\x00\x00\x00"
    assert pack_ids([258, -1]) == b"\x02\x01\x00\x00\xff\xff\xff\xff"
    assert pack_ids([2**31 - 1, -(2**31)]) == b"\xff\xff\xff\x7f\x00\x00\x00\x80"
    assert pack_ids([]) == b""


def test_golden_bytes_of_floats():
    # IEEE 754 binary32: 1 = 0x3f800000, -2.5 = 0xc0200000, -0.0 = 0x80000000.
    assert pack_floats([1.0, -2.5, 0.0, -0.0]) == (
        b"\x00\x00\x80\x3f" + b"\x00\x00\x20\xc0" + b"\x00\x00\x00\x00" + b"\x00\x00\x00\x80"
    )


def test_golden_bytes_of_a_token_pair():
    # QuestionAnswer { 2: TokenPair { 1: bytes[4], 2: bytes[8] } }; the tag of each is field << 3 | 2.
    assert pair_to_proto(TokenPair([7], [1, 2])).SerializeToString() == (
        b"\x12\x10" + b"\x0a\x04\x07\x00\x00\x00" + b"\x12\x08\x01\x00\x00\x00\x02\x00\x00\x00"
    )


def test_golden_bytes_of_a_text_pair():
    assert pair_to_proto(TextPair("q", "é")).SerializeToString() == b"\x0a\x07\x0a\x01q\x12\x02\xc3\xa9"


@given(npst.arrays(np.int32, st.integers(0, 40)))
def test_ids_survive(array):
    assert len(pack_ids(array)) == 4 * len(array)
    np.testing.assert_array_equal(unpack_ids(pack_ids(array)), array, strict=True)


@given(npst.arrays(np.float32, st.integers(0, 40)))
def test_floats_survive_bit_for_bit(array):
    np.testing.assert_array_equal(unpack_floats(pack_floats(array)).view(np.int32), array.view(np.int32))


@given(st.sampled_from([np.int8, np.uint16, np.int64, ">i4", ">i8"]), st.lists(st.integers(0, 127)))
def test_any_integer_type_packs_to_the_same_bytes(dtype, values):
    assert pack_ids(np.array(values, dtype)) == b"".join(v.to_bytes(4, "little") for v in values)


@given(st.binary(max_size=20).filter(lambda data: len(data) % 4))
def test_a_torn_array_is_refused(data):
    with pytest.raises(MalformedArray, match=f"^{len(data)} bytes"):
        unpack_ids(data)
    with pytest.raises(MalformedArray, match=f"^{len(data)} bytes"):
        unpack_floats(data)


@pytest.mark.parametrize(
    "bad",
    [[2**31], [-(2**31) - 1], [2**70], [1.0], [True], ["1"], 5, None, [[1, 2]], [[1], [2, 3]]],
    ids=str,
)
def test_what_is_no_array_of_int32_is_refused(bad):
    with pytest.raises(MalformedArray):
        pack_ids(bad)


def test_an_unpacked_array_is_the_readers_own():
    array = unpack_ids(b"\x01\x00\x00\x00")
    array[0] = 9  # torch.from_numpy warns about, and must not be given, read-only memory
    assert unpack_floats(b"\x00\x00\x80\x3f").flags.writeable


@given(ids, ids)
def test_token_pairs_survive(question_ids, answer_ids):
    pair = through_bytes(TokenPair(question_ids, answer_ids))
    np.testing.assert_array_equal(pair.question_ids, question_ids, strict=True)
    np.testing.assert_array_equal(pair.answer_ids, answer_ids, strict=True)


@given(st.builds(TextPair, text, text) | st.builds(ChatPair, messages, text))
def test_text_and_chat_pairs_survive(pair):
    assert through_bytes(pair) == pair


@given(text | messages)
def test_questions_survive(question):
    data = question_to_proto(question).SerializeToString()
    assert question_from_proto(generation_service_pb2.Question.FromString(data)) == question


@given(ids)
def test_questions_in_ids_survive(question):
    data = question_to_proto(question).SerializeToString()
    read = question_from_proto(generation_service_pb2.Question.FromString(data))
    np.testing.assert_array_equal(read, question, strict=True)


def test_token_pairs_hold_int32_whatever_they_are_made_of():
    pair = TokenPair([1, 2], np.array([3], np.int64))
    assert pair.question_ids.dtype == pair.answer_ids.dtype == np.int32
    with pytest.raises(MalformedArray, match="float64"):
        TokenPair([1.5], [2])


@pytest.mark.parametrize(
    ("pair", "what"),
    [
        (TokenPair([], [1]), "the question has no tokens"),
        (TokenPair([1], []), "the answer has no tokens"),
        (ChatPair((), "a"), "no messages"),
        (TextPair("q", "\ud800"), "the answer is no valid Unicode at character 0"),
        (TextPair("q", None), "the answer is NoneType"),
        (ChatPair((ChatMessage("user", 3),), "a"), r"messages\[0\].content is int"),
    ],
)
def test_pairs_that_no_server_could_read_are_not_sent(pair, what):
    with pytest.raises(MalformedPair, match=what):
        pair_to_proto(pair)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (types_pb2.QuestionAnswer(), "none of text, tokens and chat"),
        (types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(answer_ids=b"1234")), "the question has no tok"),
        (types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(question_ids=b"1234")), "the answer has no tok"),
        (
            types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(question_ids=b"1234", answer_ids=b"12345")),
            "the answer's token ids: 5 bytes",
        ),
        (types_pb2.QuestionAnswer(chat=types_pb2.ChatPair(answer="a")), "no messages"),
    ],
)
def test_incomplete_messages_are_refused(message, what):
    with pytest.raises(MalformedPair, match=what):
        pair_from_proto(message)


def test_an_empty_question_message_is_refused():
    with pytest.raises(MalformedPair, match="none of text, token_ids and chat"):
        question_from_proto(generation_service_pb2.Question())


def through_bytes(pair):
    return pair_from_proto(types_pb2.QuestionAnswer.FromString(pair_to_proto(pair).SerializeToString()))
