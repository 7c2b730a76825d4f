"""What is wrong with a request is said in Triton's words, and nothing that is wrong is computed.

The words were taken down from a Triton 2.51 with the same signature, sent the same requests.
"""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve_requests import packed, raw_request
from tritonclient.grpc import service_pb2_grpc

Q2, A2 = ("question", "BYTES", [2, 1]), ("answer", "BYTES", [2, 1])
TWO_Q, TWO_A = packed(b"what", b"why"), packed(b"a", b"b")


def ids(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()


def ids_request(lengths=(2, 3), answer_lengths=(1, 1), question_ids=(5, 6, 0, 5, 6, 7)):
    inputs = [
        ("question_ids", "INT32", [2, 3]),
        ("question_lengths", "INT32", [2, 1]),
        ("answer_ids", "INT32", [2, 2]),
        ("answer_lengths", "INT32", [2, 1]),
    ]
    return raw_request("tiny-rm", inputs, [ids(*question_ids), ids(*lengths), ids(8, 1, 8, 1), ids(*answer_lengths)])


def with_parameter(key, kind, value):
    request = raw_request("tiny-rm")
    setattr(request.parameters[key], kind, value)
    return request


def with_contents(field, values, *, raw):
    request = raw_request("tiny-rm", raw=raw)
    getattr(request.inputs[0].contents, field).extend(values)
    request.inputs[1].contents.bytes_contents.extend([b"a", b"b"] if not raw else [])
    return request


BAD = {
    "no input": (raw_request("tiny-rm", [], []), "takes the inputs ['question', 'answer'] or ['question_ids'"),
    "half a form": (raw_request("tiny-rm", [Q2], [TWO_Q]), "got ['question']"),
    "two forms": (
        raw_request("tiny-rm", [Q2, A2, ("question_lengths", "INT32", [2, 1])], [TWO_Q, TWO_A, ids(1, 1)]),
        "got ['answer', 'question', 'question_lengths']",
    ),
    "unknown input": (
        raw_request("tiny-rm", [Q2, A2, ("foo", "BYTES", [2, 1])], [TWO_Q, TWO_A, TWO_Q]),
        "unexpected inference input 'foo' for model 'tiny-rm'",
    ),
    "input twice": (
        raw_request("tiny-rm", [Q2, Q2, A2], [TWO_Q, TWO_Q, TWO_A]),
        "input 'question' already exists in request",
    ),
    "other type": (
        raw_request("tiny-rm", [("question", "INT32", [2, 1]), A2], [ids(1, 2), TWO_A]),
        "inference input 'question' data-type is 'INT32', but model 'tiny-rm' expects 'BYTES'",
    ),
    "no type": (
        raw_request("tiny-rm", [("question", "", [2, 1]), A2], [TWO_Q, TWO_A]),
        "data-type is '', but model 'tiny-rm' expects 'BYTES'",
    ),
    "rank 3": (
        raw_request("tiny-rm", [("question", "BYTES", [2, 1, 1]), A2], [TWO_Q, TWO_A]),
        "unexpected shape for input 'question' for model 'tiny-rm'. Expected [-1, 1], got [2, 1, 1]",
    ),
    "rank 0": (raw_request("tiny-rm", [("question", "BYTES", []), A2], [TWO_Q, TWO_A]), "got []"),
    "two columns": (raw_request("tiny-rm", [("question", "BYTES", [1, 2]), A2], [TWO_Q, TWO_A]), "got [1, 2]"),
    "negative size": (raw_request("tiny-rm", [("question", "BYTES", [-1, 1]), A2], [TWO_Q, TWO_A]), "got [-1, 1]"),
    "no rows": (
        raw_request("tiny-rm", [("question", "BYTES", [0, 1]), ("answer", "BYTES", [0, 1])], [b"", b""]),
        "got [0, 1]",
    ),
    "flat ids": (
        raw_request("tiny-rm", [("question_ids", "INT32", [2])], [ids(1, 2)]),
        "unexpected shape for input 'question_ids'",
    ),
    "different numbers of rows": (
        raw_request("tiny-rm", [("question", "BYTES", [1, 1]), A2], [packed(b"q"), TWO_A]),
        "batch size does not match other inputs for 'tiny-rm'",
    ),
    "too many rows": (
        raw_request("tiny-rm", [("question", "BYTES", [9, 1]), ("answer", "BYTES", [9, 1])], [packed(*[b"q"] * 9)] * 2),
        "inference request batch-size must be <= 8 for 'tiny-rm'",
    ),
    "huge shape": (
        raw_request("tiny-rm", [("question_ids", "INT32", [8, 2**60])], [ids(1)]),
        "input byte size mismatch",
    ),
    "too few elements": (
        raw_request("tiny-rm", raw=[packed(b"x"), TWO_A]),
        "expected 2 string elements for inference input 'question' for model 'tiny-rm', got 1",
    ),
    "too many elements": (
        raw_request("tiny-rm", raw=[packed(b"x", b"y", b"z"), TWO_A]),
        "unexpected number of string elements 3 for inference input 'question' for model 'tiny-rm', expecting 2",
    ),
    "torn length": (
        raw_request("tiny-rm", raw=[packed(b"x") + b"\x01\x00", TWO_A]),
        "incomplete string length indicator for inference input 'question' for model 'tiny-rm', "
        "expecting 4 bytes but only 2 bytes available",
    ),
    "one byte more": (
        raw_request("tiny-rm", raw=[TWO_Q + b"\x00", TWO_A]),
        "expecting 4 bytes but only 1 bytes available",
    ),
    "torn element": (
        raw_request("tiny-rm", raw=[packed(b"x") + b"\x09\x00\x00\x00abc", TWO_A]),
        "expecting string of length 9 but only 3 bytes available",
    ),
    "too few ids": (
        raw_request("tiny-rm", [("question_ids", "INT32", [2, 3])], [ids(1, 2, 3)]),
        "input byte size mismatch for inference input 'question_ids' for model 'tiny-rm'. Expected 24, got 12",
    ),
    "not UTF-8": (
        raw_request("tiny-rm", raw=[TWO_Q, packed(b"a", b"b\xff")]),
        "the answer is not valid UTF-8 at byte 1",
    ),
    "empty answer": (raw_request("tiny-rm", raw=[TWO_Q, packed(b"a", b"")]), "the answer is empty"),
    "too long": (raw_request("tiny-rm", raw=[packed(b"what" * 500, b"why"), TWO_A]), "at most 256 are accepted"),
    "length 0": (
        ids_request(lengths=(0, 3)),
        "question_lengths is 0; with question_ids this wide it is from 1 to 3",
    ),
    "length beyond the row": (ids_request(answer_lengths=(1, 3)), "answer_lengths is 3"),
    "unknown id": (ids_request(question_ids=(5, 9999, 0, 5, 6, 7)), "token id 9999 is outside the vocabulary"),
    "raw contents for one input of two": (
        raw_request("tiny-rm", raw=[TWO_Q]),
        "unable to find data for input tensor 'answer' for model 'tiny-rm' in request.",
    ),
    "no contents": (raw_request("tiny-rm", raw=[]), "unable to find data for input tensor 'question'"),
    "surplus raw contents": (
        raw_request("tiny-rm", raw=[TWO_Q, TWO_A, b""]),
        "got 3 raw_input_contents for model 'tiny-rm', expected one for each of the 2 inputs",
    ),
    "raw and typed contents": (
        with_contents("bytes_contents", [b"x", b"y"], raw=[TWO_Q, TWO_A]),
        "contents field must not be specified when using raw_input_contents for 'question' for model 'tiny-rm'",
    ),
    "too few typed elements": (
        with_contents("bytes_contents", [b"x"], raw=[]),
        "expected 2 string elements for inference input 'question' for model 'tiny-rm', got 1",
    ),
    "typed elements of another type": (
        with_contents("int_contents", [1, 2], raw=[]),
        "unexpected explicit tensor data for inference input 'question'",
    ),
    "unknown output": (
        raw_request("tiny-rm", outputs=["foo"]),
        "unexpected inference output 'foo' for model 'tiny-rm'",
    ),
    "timeout as text": (
        with_parameter("timeout", "string_param", "x"),
        "invalid value type for 'timeout' parameter, expected int64_param.",
    ),
    "negative timeout": (with_parameter("timeout", "int64_param", -5), "'timeout' is -5"),
    "priority as text": (
        with_parameter("priority", "string_param", "1"),
        "invalid value type for 'priority' parameter, expected int64_param or uint64_param.",
    ),
    "sequence id as flag": (
        with_parameter("sequence_id", "bool_param", True),
        "invalid value type for 'sequence_id' parameter, expected int64_param or string_param.",
    ),
    "reserved parameter": (
        with_parameter("triton_foo", "bool_param", True),
        "parameter keys starting with 'triton_' are reserved for Triton usage",
    ),
    "shared memory without its size": (
        with_parameter("x", "bool_param", True),
        "'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter for tensor 'question'",
    ),
}
BAD["shared memory without its size"][0].inputs[0].parameters["shared_memory_region"].string_param = "r"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_invalid_and_says_why(stub, name):
    request, words = BAD[name]
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert words in caught.value.details()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_bad_temperature_is_invalid(policy):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(policy.channel)
    request = raw_request("tiny-policy")
    request.parameters["temperature"].double_param = 0.0
    with pytest.raises(grpc.RpcError, match="temperature") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_parameter_without_value_is_invalid(stub):
    request = raw_request("tiny-rm")
    request.parameters["anything"].SetInParent()
    with pytest.raises(grpc.RpcError, match="invalid value type for 'anything' parameter"):
        stub.ModelInfer(request)


def test_classification_is_unimplemented(stub):
    request = raw_request("tiny-rm", outputs=["score"])
    request.outputs[0].parameters["classification"].int64_param = 1
    with pytest.raises(grpc.RpcError, match="classification") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_all_bad_pairs_are_named(stub):
    request = raw_request("tiny-rm", raw=[packed(b"\xff", b"why"), packed(b"a", b"")])
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    assert "pairs[0]" in caught.value.details()
    assert "pairs[1]" in caught.value.details()


@settings(max_examples=60, deadline=None)
@given(
    raw=st.lists(st.binary(max_size=40), max_size=3),
    shape=st.lists(st.integers(-2, 4), max_size=3),
    datatype=st.sampled_from(["BYTES", "INT32", "FP32", ""]),
    name=st.sampled_from(["question", "question_ids", "question_lengths"]),
)
def test_no_request_makes_the_server_fail(reward, raw, shape, datatype, name):
    stub = service_pb2_grpc.GRPCInferenceServiceStub(reward.channel)
    request = raw_request("tiny-rm", [(name, datatype, shape), A2], raw)
    code = stub.ModelInfer.future(request).code()  # waits for the end of the call
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
