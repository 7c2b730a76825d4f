"""Whatever bytes come over the wire or lie in a data file: they are read, or refused in our own words."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rewardplane.services.common.kserve.inputs import read_inputs, read_pairs
from rewardplane.services.common.kserve.parameters import read_parameters
from rewardplane.services.common.kserve.shared_memory import Regions
from rewardplane.services.common.kserve.tensors import TensorSpec, decode_bytes, encode_bytes, from_raw
from rewardplane.services.common.validation import check_temperature
from rewardplane.trainer.data import read_demonstrations, read_prompts, read_ranked, read_texts
from rewardplane.trainer.jsonl import BadData
from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest, RewardplaneError, ServerFault
from rewardplane.replies import Reply, read_answers, read_info, read_logprobs, read_scores, read_version
from rewardplane.v1 import (
    generation_service_pb2,
    logprob_service_pb2,
    model_service_pb2,
    scoring_service_pb2,
    types_pb2,
)
from rewardplane.wire import MalformedPair, pair_from_proto, question_from_proto

FILES = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
READERS = (read_demonstrations, read_prompts, read_ranked, read_texts)

ids = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(lambda given: np.array(given, "<i4").tobytes())
odd_bytes = st.one_of(ids, st.binary(max_size=12))
token_pairs = st.builds(types_pb2.TokenPair, question_ids=odd_bytes, answer_ids=odd_bytes)
messages = st.lists(st.builds(types_pb2.ChatMessage, role=st.text(max_size=5), content=st.text(max_size=5)), max_size=3)
question_answers = st.one_of(
    st.builds(types_pb2.QuestionAnswer),
    st.builds(types_pb2.QuestionAnswer, tokens=token_pairs),
    st.builds(types_pb2.QuestionAnswer, chat=st.builds(types_pb2.ChatPair, messages=messages)),
)
KEYS = ("question", "answer", "answers", "ranks", "ratings", "chosen", "rejected", "text", "messages", "prompt", "data",
        "predictions", "annotations", "result", "replies", "role", "content", "rank", "items", "value", "ranker",
        "score", "message_tree_id", "source", "split")  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(("", "a", "user", "\ud800"))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=12,
)
rows = st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6)


@given(st.one_of(question_answers, st.binary(max_size=60)))
def test_any_pair_is_read_or_called_malformed(given_pair: types_pb2.QuestionAnswer | bytes) -> None:
    with suppress(DecodeError, MalformedPair):
        message = types_pb2.QuestionAnswer.FromString(given_pair) if isinstance(given_pair, bytes) else given_pair
        pair_from_proto(message)


@given(st.binary(max_size=60))
def test_any_question_is_read_or_called_malformed(data: bytes) -> None:
    with suppress(DecodeError, MalformedPair):
        question_from_proto(generation_service_pb2.Question.FromString(data))


@given(st.binary(max_size=40), st.integers(0, 5))
def test_any_bytes_tensor_is_read_or_refused(data: bytes, count: int) -> None:
    with suppress(InvalidRequest):
        elements = decode_bytes(data, count, "tensor")
        assert encode_bytes(elements) == data
        assert len(elements) == count


@given(st.binary(max_size=40), st.lists(st.integers(0, 2**31), min_size=1, max_size=3))
def test_any_int32_tensor_is_read_or_refused(data: bytes, shape: list[int]) -> None:
    with suppress(InvalidRequest):
        assert from_raw(data, TensorSpec("ids", "INT32", (-1,)), shape, "tensor").shape == tuple(shape)


infer_inputs = st.builds(
    service_pb2.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(
        ("question", "answer", "question_ids", "answer_ids", "question_lengths", "answer_lengths", "")
    ),
    datatype=st.sampled_from(("BYTES", "INT32", "FP32", "")),
    shape=st.lists(st.sampled_from((-1, 0, 1, 2, 3, 2**62)), max_size=3),
)
raw_contents = st.one_of(
    odd_bytes, st.lists(st.binary(max_size=4), max_size=3).map(encode_bytes)
)  # fmt: skip


@given(st.lists(infer_inputs, max_size=5), st.lists(raw_contents, max_size=5))
def test_any_inputs_of_kserve_are_read_or_refused(inputs: list[Any], raw: list[bytes]) -> None:
    request = service_pb2.ModelInferRequest(inputs=inputs, raw_input_contents=raw)
    with suppress(InvalidRequest):
        read_pairs(read_inputs(request, Regions(), max_pairs=8, peer_is_local=True), "model")


parameters = st.builds(
    service_pb2.InferParameter,
    int64_param=st.integers(-(2**63), 2**63 - 1),
) | st.builds(service_pb2.InferParameter, double_param=st.floats()) | st.builds(service_pb2.InferParameter)  # fmt: skip


@given(st.dictionaries(st.sampled_from(("timeout", "temperature", "priority", "sequence_id", "triton_x")), parameters))
def test_any_parameters_are_read_or_refused(given_parameters: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        check_temperature(read_parameters(given_parameters).temperature)


scores = scoring_service_pb2.ScoreAnswersRequest(pairs=[types_pb2.QuestionAnswer()] * 2)
logprobs = logprob_service_pb2.ComputeLogprobsRequest(
    pairs=[types_pb2.QuestionAnswer(tokens=types_pb2.TokenPair(question_ids=b"1234", answer_ids=b"12345678"))]
)
answers = generation_service_pb2.GenerateAnswersRequest(
    questions=[generation_service_pb2.Question(text="a")], answers_per_question=1
)
REPLIES = [
    (scoring_service_pb2.ScoreAnswersResponse, lambda reply: read_scores([scores], [reply])),
    (logprob_service_pb2.ComputeLogprobsResponse, lambda reply: read_logprobs([logprobs], [reply])),
    (generation_service_pb2.GenerateAnswersResponse, lambda reply: read_answers(answers, reply)),
    (scoring_service_pb2.ScoreAnswersResponse, lambda reply: read_version([reply], "wanted")),
    (model_service_pb2.GetModelInfoResponse, read_info),
]


@pytest.mark.parametrize(("reply_type", "read"), REPLIES)
@given(data=st.data())
def test_any_reply_is_read_or_raised_as_an_error_of_ours(reply_type: Any, read: Any, data: st.DataObject) -> None:
    """The client's side: a server that is broken, or not one of ours."""
    with suppress(DecodeError, RewardplaneError):
        read(Reply(reply_type.FromString(data.draw(st.binary(max_size=60))), "target"))


@FILES
@given(
    content=st.one_of(
        st.binary(max_size=200), st.lists(rows, max_size=3).map(lambda r: "\n".join(map(json.dumps, r)).encode())
    )
)
def test_any_file_is_read_or_called_bad_data(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    for reader in READERS:
        with suppress(BadData):
            reader(tmp_path / "rows.jsonl")


@FILES
@given(content=st.binary(max_size=200), name=st.sampled_from(("rows.jsonl.gz", "rows.parquet")))
def test_any_packed_file_is_read_or_called_bad_data(content: bytes, name: str, tmp_path: Path) -> None:
    for written in (content, gzip.compress(content)[: len(content)], b"PAR1" + content + b"PAR1"):
        (tmp_path / name).write_bytes(written)
        with suppress(BadData):
            read_texts(tmp_path / name)


def test_a_number_of_five_thousand_digits_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": ' + "9" * 5000 + "}\n")
    with pytest.raises(BadData, match=r"rows\.jsonl:1: cannot be read"):
        read_texts(tmp_path / "rows.jsonl")


def test_a_time_after_the_end_of_all_calendars_is_a_fault_of_the_server() -> None:
    info = model_service_pb2.ModelInfo(load_time=Timestamp(seconds=2**62))
    with pytest.raises(ServerFault, match="load_time"):
        read_info(Reply(model_service_pb2.GetModelInfoResponse(model_info=info), "target"))
