"""GenerationService, served by a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rpc
import torch
from peer_forward import load_peer, peer_logprobs
from servers import Served, served
from tiny_models import make_model, make_tokenizer, save_tiny
from transformers import AutoModelForCausalLM

from rewardplane.v1 import generation_service_pb2

QUESTIONS = ["What did you think?", "Was it good, and would you see it again?"]


def pair_of(answer: object) -> tuple[list[int], list[int]]:
    return rpc.ids(answer.tokens.question_ids), rpc.ids(answer.tokens.answer_ids)  # type: ignore[attr-defined]


def test_equal_seeds_give_equal_answers(policy_server: Served) -> None:
    def sample(seed: int) -> list[bytes]:
        reply = rpc.generate(policy_server.channel, QUESTIONS, answers_per_question=2, max_answer_tokens=8, seed=seed)
        return [answer.tokens.answer_ids for answer in reply.answers]

    assert sample(5) == sample(5)
    assert sample(5) != sample(6)
    assert len(set(sample(5))) == 4


def test_answers_are_grouped_by_question(policy_server: Served) -> None:
    reply = rpc.generate(policy_server.channel, QUESTIONS, answers_per_question=3, max_answer_tokens=4, seed=1)
    tokenizer = make_tokenizer(chat=True)
    for number, answer in enumerate(reply.answers):
        chat = f"<s>user: {QUESTIONS[number // 3]}<s>assistant: "
        assert pair_of(answer)[0] == tokenizer(chat, add_special_tokens=False)["input_ids"]
        assert answer.text == tokenizer.decode(pair_of(answer)[1], skip_special_tokens=True)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_are_those_of_the_same_tokens(policy_server: Served, policy_dir: Path, temperature: float) -> None:
    reply = rpc.generate(
        policy_server.channel,
        QUESTIONS,
        answers_per_question=2,
        max_answer_tokens=12,
        temperature=temperature,
        seed=3,
    )
    pairs = [pair_of(answer) for answer in reply.answers]
    computed = rpc.logprobs(
        policy_server.channel,
        [rpc.tokens(*pair) for pair in pairs],
        temperature=temperature,
        tokenizer_fingerprint=rpc.info(policy_server.channel).tokenizer_fingerprint,
    )
    peers = peer_logprobs(policy_dir, pairs, temperature)
    for answer, again, peer in zip(reply.answers, computed.answer_logprobs, peers, strict=True):
        np.testing.assert_allclose(rpc.floats(answer.logprobs), rpc.floats(again.logprobs), atol=1e-6)
        np.testing.assert_allclose(rpc.floats(answer.logprobs), peer, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_greedy_answers_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    directory = tmp_path / family
    save_tiny(directory, "policy", family, seed=9)
    with served("policy", directory) as server:
        reply = rpc.generate(server.channel, QUESTIONS, max_answer_tokens=10, temperature=0.0)
    model = load_peer(AutoModelForCausalLM, directory)
    for answer in reply.answers:
        question, ids = pair_of(answer)
        whole = model.generate(torch.tensor([question]), do_sample=False, max_new_tokens=10)[0].tolist()
        assert ids == whole[len(question) :]
        np.testing.assert_allclose(
            rpc.floats(answer.logprobs), peer_logprobs(directory, [(question, ids)])[0], atol=1e-4
        )


def test_a_stop_token_ends_an_answer_and_is_part_of_it(tmp_path: Path) -> None:
    model = make_model("policy")
    stop = 77
    with torch.no_grad():  # the second token is always the stop: its logit follows the position's state
        model.lm_head.weight.zero_()
        model.lm_head.weight[stop] = 0.0
    model.config.eos_token_id = model.generation_config.eos_token_id = [1, stop]
    save_tiny(tmp_path / "policy", "policy", model=model)
    with served("policy", tmp_path / "policy") as server:
        # All logits are 0: each token has probability 1/320, and two of them stop.
        reply = rpc.generate(server.channel, ["a"], answers_per_question=64, max_answer_tokens=200, seed=0)
    answers = [(pair_of(answer)[1], answer.finish_reason) for answer in reply.answers]
    stopped = [ids for ids, reason in answers if reason == generation_service_pb2.FINISH_REASON_STOP]
    cut = [ids for ids, reason in answers if reason == generation_service_pb2.FINISH_REASON_LENGTH]
    assert {ids[-1] for ids in stopped} == {1, stop}
    assert not any({1, stop} & set(ids[:-1]) for ids in stopped)
    assert all(len(ids) == 200 for ids in cut)
    # 1 - (1 - 2/320)**200 = 0.715 of them stop: 45.7 of 64, standard deviation 3.6.
    assert 31 <= len(stopped) <= 60


def test_a_large_request_is_sampled_in_blocks(policy_dir: Path) -> None:
    with served("policy", policy_dir, max_generation_rows=4) as server:
        reply = rpc.generate(server.channel, QUESTIONS, answers_per_question=6, max_answer_tokens=8, seed=2)
    answers = [answer.tokens.answer_ids for answer in reply.answers]
    assert len(answers) == 12
    assert len(set(answers)) == 12  # every block draws numbers of its own
    assert [a.tokens.question_ids for a in reply.answers] == [
        reply.answers[0].tokens.question_ids,
    ] * 6 + [reply.answers[6].tokens.question_ids] * 6


def test_bad_requests_are_refused(policy_server: Served) -> None:
    def refused(**fields: object) -> rpc.Failure:
        given = {"max_answer_tokens": 4, **fields}
        return rpc.failure(lambda: rpc.generate(policy_server.channel, ["a", "b"], **given))

    assert refused(max_answer_tokens=0).violations.keys() == {"max_answer_tokens"}
    assert refused(answers_per_question=0).violations.keys() == {"answers_per_question"}
    assert refused(temperature=-1.0).reason == "INVALID_TEMPERATURE"
    assert refused(answers_per_question=200).reason == "TOO_MANY_PAIRS"
    too_long = refused(max_answer_tokens=10_000)
    assert too_long.reason == "INVALID_QUESTIONS"
    assert too_long.violations.keys() == {"questions[0]", "questions[1]"}


def test_scoring_goes_on_beside_generation(policy_server: Served) -> None:
    """Blocks of sampling and batches of pairs take turns."""
    generating = [
        rpc.generation_service_pb2_grpc.GenerationServiceStub(policy_server.channel).GenerateAnswers.future(
            generation_service_pb2.GenerateAnswersRequest(
                questions=[generation_service_pb2.Question(text="a")] * 64, max_answer_tokens=100
            ),
            timeout=60,
        )
        for _ in range(4)
    ]
    rpc.score(policy_server.channel, [rpc.text("a", "b")])
    assert not all(call.done() for call in generating)
    for call in generating:
        assert len(call.result().answers) == 64
