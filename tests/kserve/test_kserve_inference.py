"""ModelInfer through tritonclient: the numbers are those of rewardplane.v1 and of transformers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from kserve_requests import ANSWERS, QUESTIONS, ids_inputs, raw_request, text_inputs
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import running_server
from servers import served
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from tritonclient.utils import InferenceServerException

from rewardplane import Client

N = len(QUESTIONS)


def test_scores_equal_those_of_the_native_api(client, native_scores):
    score = client.infer("tiny-rm", text_inputs()).as_numpy("score")
    assert score.dtype == np.float32
    assert score.shape == (N, 1)
    np.testing.assert_allclose(score, native_scores, atol=1e-5)


def test_scores_of_ids_equal_those_of_transformers(client, token_pairs, tiny_checkpoints):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoints / "tiny-rm").eval()
    with torch.no_grad():  # one pair at a time: transformers' own padding does not come into it
        expected = [
            model(torch.tensor([[*pair.question_ids.tolist(), *pair.answer_ids.tolist()]])).logits.item() - 0.25
            for pair in token_pairs
        ]
    score = client.infer("tiny-rm", ids_inputs(token_pairs)).as_numpy("score")
    np.testing.assert_allclose(score[:, 0], expected, atol=1e-5)


def test_logprobs_of_ids_equal_those_of_transformers(policy_client, token_pairs, tiny_checkpoints):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoints / "at-3" / "tiny-policy").eval()
    result = policy_client.infer("tiny-policy", ids_inputs(token_pairs), parameters={"temperature": 0.7})
    logprobs = result.as_numpy("logprobs")
    widest = max(len(pair.answer_ids) for pair in token_pairs)
    assert logprobs.shape == (N, widest)
    for pair, row, length in zip(token_pairs, logprobs, result.as_numpy("logprob_lengths")[:, 0], strict=True):
        ids = torch.tensor([*pair.question_ids.tolist(), *pair.answer_ids.tolist()])
        with torch.no_grad():
            logits = model(ids[None]).logits[0].double() / 0.7
        start = len(pair.question_ids)
        expected = logits.log_softmax(-1)[torch.arange(start - 1, len(ids) - 1), ids[start:]]
        assert length == len(pair.answer_ids)
        np.testing.assert_allclose(row[:length], expected, atol=1e-4)
        assert not row[length:].any()


def test_logprobs_of_text_are_those_of_the_native_api(policy_client, policy):
    with Client(policy.target) as native:
        expected = native.logprobs(list(zip(QUESTIONS, ANSWERS, strict=True)))
    result = policy_client.infer("tiny-policy", text_inputs())
    for row, length, one in zip(
        result.as_numpy("logprobs"), result.as_numpy("logprob_lengths")[:, 0], expected.values, strict=True
    ):
        np.testing.assert_allclose(row[:length], one, atol=1e-5)
        assert not row[length:].any()
    # A policy's score is the sum of the answer's log-probs.
    np.testing.assert_allclose(result.as_numpy("score")[:, 0], result.as_numpy("logprobs").sum(axis=1), atol=1e-4)


def test_a_reference_has_log_probs_and_no_score(tiny_checkpoints):
    with (
        served("reference", tiny_checkpoints / "tiny-reference") as server,
        triton.InferenceServerClient(server.target) as client,
    ):
        result = client.infer("tiny-reference", text_inputs())
        assert result.as_numpy("score") is None
        assert result.as_numpy("logprobs").shape[0] == N
        with pytest.raises(InferenceServerException, match="unexpected inference output 'score'"):
            client.infer("tiny-reference", text_inputs(), outputs=[triton.InferRequestedOutput("score")])


def test_a_batch_may_be_flat(client, native_scores):
    inputs = [
        triton.InferInput(name, [N], "BYTES").set_data_from_numpy(np.array([t.encode() for t in texts], object))
        for name, texts in (("question", QUESTIONS), ("answer", ANSWERS))
    ]
    np.testing.assert_allclose(client.infer("tiny-rm", inputs).as_numpy("score"), native_scores, atol=1e-5)


def test_typed_contents_give_the_same_scores(stub, native_scores, token_pairs):
    request = raw_request("tiny-rm", [("question", "BYTES", [N, 1]), ("answer", "BYTES", [N, 1])], [])
    request.inputs[0].contents.bytes_contents.extend(q.encode() for q in QUESTIONS)
    request.inputs[1].contents.bytes_contents.extend(a.encode() for a in ANSWERS)
    np.testing.assert_allclose(scores_of(stub.ModelInfer(request)), native_scores, atol=1e-5)

    by_ids = raw_request("tiny-rm", [], [])
    for tensor in ids_inputs(token_pairs):
        typed = by_ids.inputs.add()
        typed.CopyFrom(tensor._get_tensor())
        typed.contents.int_contents.extend(np.frombuffer(tensor._get_content(), "<i4").tolist())
    np.testing.assert_allclose(scores_of(stub.ModelInfer(by_ids)), native_scores, atol=1e-5)


def scores_of(response) -> np.ndarray:
    return triton.InferResult(response).as_numpy("score")


def test_a_response_says_what_answered_what(client, reward):
    response = client.infer("tiny-rm", text_inputs(), request_id="17", model_version="1").get_response()
    assert (response.model_name, response.model_version, response.id) == ("tiny-rm", "1", "17")
    digest = reward.server.engine.model_version().checkpoint_digest
    assert response.parameters["checkpoint_digest"].string_param == digest


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (["logprobs"], ["logprobs"]),
        (["logprobs", "score"], ["score", "logprobs"]),  # Triton answers in the model's order
        (["score", "score"], ["score"]),
        ([], ["score", "logprobs", "logprob_lengths"]),
    ],
)
def test_outputs_are_those_asked_for(policy_client, wanted, given):
    outputs = [triton.InferRequestedOutput(name) for name in wanted]
    response = policy_client.infer("tiny-policy", text_inputs(), outputs=outputs).get_response()
    assert [output.name for output in response.outputs] == given
    assert len(response.raw_output_contents) == len(given)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, native_scores, algorithm):
    result = client.infer("tiny-rm", text_inputs(), compression_algorithm=algorithm)
    np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)


def test_parameters_that_triton_knows_and_parameters_that_nobody_knows(client, native_scores):
    result = client.infer(
        "tiny-rm", text_inputs(), priority=1, timeout=30_000_000, sequence_id=5, sequence_start=True,
        sequence_end=True, parameters={"team": "search", "ratio": 0.5, "attempt": 2, "dry": True},
    )  # fmt: skip
    np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)


def test_a_timeout_of_microseconds_is_a_deadline(client):
    with pytest.raises(InferenceServerException, match="deadline passed") as caught:
        client.infer("tiny-rm", text_inputs(), timeout=1)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_client_may_insist_on_weights_and_tokenizer(client, token_pairs):
    config = client.get_model_config("tiny-rm").config.parameters
    pins = {k: config[k].string_value for k in ("checkpoint_digest", "tokenizer_fingerprint")}
    right = {
        "expected_checkpoint_digest": pins["checkpoint_digest"],
        "tokenizer_fingerprint": pins["tokenizer_fingerprint"],
    }
    client.infer("tiny-rm", ids_inputs(token_pairs), parameters=right)
    for name in right:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("tiny-rm", ids_inputs(token_pairs), parameters={**right, name: "0" * 64})
        assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"


def test_async_callbacks(client, native_scores):
    done = threading.Event()
    answers = []

    def callback(result, error):
        answers.append((result, error))
        if len(answers) == 4:
            done.set()

    for _ in range(4):
        client.async_infer("tiny-rm", text_inputs(), callback)
    assert done.wait(60)
    for result, error in answers:
        assert error is None
        np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)


async def test_the_aio_client(reward, native_scores):
    async with triton_aio.InferenceServerClient(reward.target) as client:
        assert await client.is_server_ready()
        assert await client.is_model_ready("tiny-rm")
        assert (await client.get_model_config("tiny-rm")).config.name == "tiny-rm"
        result = await client.infer("tiny-rm", text_inputs(), client_timeout=60, compression_algorithm="gzip")
        np.testing.assert_allclose(result.as_numpy("score"), native_scores, atol=1e-5)
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("nothing", text_inputs())


async def test_new_weights_have_a_new_version_and_the_old_one_is_gone(tiny_checkpoints, token_pairs):
    first, second = (tiny_checkpoints / f"at-{version}" / "tiny-policy" for version in (3, 4))
    async with (
        running_server("policy", first, ServerConfig(threads=1)) as server,
        triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        before = await client.infer("tiny-policy", ids_inputs(token_pairs), model_version="3")
        await server.replace_model(second)
        after = await client.infer("tiny-policy", ids_inputs(token_pairs))
        assert after.get_response().model_version == "4"
        assert list((await client.get_model_metadata("tiny-policy")).versions) == ["4"]
        digests = {r.get_response().parameters["checkpoint_digest"].string_param for r in (before, after)}
        assert len(digests) == 2
        with pytest.raises(InferenceServerException, match="'tiny-policy' version 3 is not found"):
            await client.infer("tiny-policy", ids_inputs(token_pairs), model_version="3")
