"""A reward model on a server of KServe v2 as PPO's judge: our own endpoint, and servers that are none of ours."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from conftest import Configure
from kserve_peer import KServePeer, serving
from ppo_runs import SCORES_AS_GIVEN, Models, figures
from pydantic import ValidationError
from rewardplane.trainer.judges import JudgeConfig, JudgeGone, JudgeMisfit, ReferenceJudge, RewardJudge
from rewardplane.trainer.ppo.train import run_ppo
from servers import served
from tiny_models import make_tokenizer, save_tiny

from rewardplane import Client
from rewardplane.errors import DigestMismatch, ServerFault
from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import ChatMessage, TextPair, TokenPair

QUESTIONS = ("How was it?", "Was it good?", "What did you think — of “Ränder”?", "A", "The end was")
ANSWERS = (" Good.", " It was long, and I would see it again.", " Yes.", " Not what I had hoped for.", " The film.")


@pytest.fixture
def encoder() -> PairEncoder:
    return PairEncoder(make_tokenizer(), [1], 320)


def pairs_of(encoder: PairEncoder, answers: tuple[str, ...] = ANSWERS) -> list[TokenPair]:
    return [
        TokenPair(encoder.encode_question(q), encoder.encode_answer(a))
        for q, a in zip(QUESTIONS, answers, strict=False)
    ]


def lengths(question: str, answer: str) -> float:
    """A score that no two of the pairs have in common."""
    return len(question) + len(answer) / 100


def test_scores_are_those_of_the_same_texts_by_the_other_protocol(models: Models, encoder: PairEncoder) -> None:
    with served("reward", models.reward, max_request_pairs=2) as server:
        judge = RewardJudge(JudgeConfig(target=f"kserve://{server.target}/{models.reward.name}"), encoder)
        scores = judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
        with Client(server.target) as client:
            expected = client.score([TextPair(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)])
        with triton.InferenceServerClient(server.target) as client:
            (counts,) = client.get_inference_statistics(models.reward.name).model_stats
    assert scores.dtype.is_floating_point
    assert scores.tolist() == pytest.approx(expected.values.tolist(), abs=1e-6)
    assert len({round(score, 3) for score in scores.tolist()}) == 5
    assert (counts.inference_count, counts.execution_count) == (5, 3)  # 2 + 2 + 1 pairs
    assert judge.digest == read_manifest(models.reward).digest


def test_run_with_a_reward_model_behind_kserve(tmp_path: Path, configure: Configure, models: Models) -> None:
    with served("reward", models.reward) as server:
        target = f"kserve://{server.target}/{models.reward.name}"
        result = run_ppo(configure(tmp_path, {"updates": 1, "reward.target": target}))
    assert result.updates == 1
    assert all(value is not None for row in figures(tmp_path / "run") for value in row.values())


@pytest.mark.parametrize(
    ("max_batch_size", "sizes"),
    [(2, [2, 2, 1]), (8, [5]), (0, [5]), (None, [5])],  # 0 and no configuration name no limit
)
def test_batches_are_cut_by_the_models_limit(
    encoder: PairEncoder, max_batch_size: int | None, sizes: list[int]
) -> None:
    peer = KServePeer(lengths, max_batch_size=max_batch_size)
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        scores = judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    assert sorted((len(pairs) for _, _, pairs in peer.requests), reverse=True) == sizes
    assert scores.tolist() == pytest.approx([lengths(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)])


@pytest.mark.parametrize(("shape", "sent"), [((-1, 1), [5, 1]), ((-1, -1), [5, 1]), ((-1,), [5])])
def test_inputs_have_the_shape_that_the_server_names(
    encoder: PairEncoder, shape: tuple[int, ...], sent: list[int]
) -> None:
    peer = KServePeer(lengths, inputs=[("question", "BYTES", shape), ("answer", "BYTES", shape)])
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    ((_, shapes, _),) = peer.requests
    assert shapes == [sent, sent]


def test_model_without_batches_is_sent_one_pair_at_a_time(encoder: PairEncoder) -> None:
    inputs = [("question", "BYTES", (1,)), ("answer", "BYTES", (1,))]
    peer = KServePeer(lengths, inputs=inputs, max_batch_size=0)
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        scores = judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    assert [shapes for _, shapes, _ in peer.requests] == [[[1], [1]]] * 5
    assert scores.tolist() == pytest.approx([lengths(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)])


def test_newest_version_is_pinned_and_what_cannot_be_known_is_said_once(
    encoder: PairEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    peer = KServePeer(lengths, versions=("9", "10"))
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        judge.scores(QUESTIONS, pairs_of(encoder))
        judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    assert {version for version, _, _ in peer.requests} == {"10"}
    (warning,) = [r.getMessage() for r in caplog.records if "neither a digest" in r.getMessage()]
    assert target in warning
    assert "version '10'" in warning
    assert judge.digest == "rm:10"  # wherever it is served when the run goes on


def test_another_version_in_a_reply_stops_the_run(encoder: PairEncoder) -> None:
    peer = KServePeer(lengths, says={"model_version": "2"})
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        with pytest.raises(DigestMismatch, match="version 2, and the run began with 1"):
            judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()


def test_other_weights_behind_our_own_endpoint_stop_the_run(
    tmp_path: Path, models: Models, encoder: PairEncoder
) -> None:
    save_tiny(tmp_path / "reward", "reward", seed=11)
    with served("reward", models.reward) as server:
        judge = RewardJudge(JudgeConfig(target=f"kserve://{server.target}/reward", timeout_s=2.0), encoder)
        port = int(server.target.rpartition(":")[2])
    with served("reward", tmp_path / "reward", port=port), pytest.raises(DigestMismatch, match="weights"):
        judge.scores(QUESTIONS, pairs_of(encoder))
    judge.close()


def test_server_that_starts_late_is_waited_for(
    models: Models, encoder: PairEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    with served("reward", models.reward) as server:
        target, port = server.target, int(server.target.rpartition(":")[2])
    up, over = threading.Event(), threading.Event()

    def later() -> None:
        up.wait(30)
        with served("reward", models.reward, port=port):
            over.wait(30)

    late = threading.Thread(target=later)
    late.start()
    threading.Timer(0.8, up.set).start()
    try:
        config = JudgeConfig(target=f"kserve://{target}/{models.reward.name}", timeout_s=0.3)
        judge = RewardJudge(config, encoder)
        assert judge.outages.retries >= 1
        judge.close()
    finally:
        over.set()
        late.join()
    assert f"the reward judge at kserve://{target}/{models.reward.name} does not answer" in caplog.text


def test_server_that_stays_away_ends_the_run(encoder: PairEncoder) -> None:
    with serving(KServePeer(lengths)) as target:
        judge = RewardJudge(JudgeConfig(target=target, timeout_s=0.3, outage_limit_s=1.0), encoder)
    with pytest.raises(JudgeGone, match=f"reward judge at {target} has not answered"):
        judge.scores(QUESTIONS, pairs_of(encoder))
    judge.close()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_score_that_is_not_finite_is_refused_by_its_index(encoder: PairEncoder, bad: float) -> None:
    peer = KServePeer(lambda q, a: bad if a == ANSWERS[3] else 0.5, max_batch_size=2)
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        with pytest.raises(ServerFault, match=r"pairs\[3\]") as caught:
            judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    assert caught.value.reason == "NON_FINITE_SCORE"


def test_scores_may_come_as_typed_numbers(encoder: PairEncoder) -> None:
    with serving(KServePeer(lengths, says={"typed": True})) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        scores = judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()
    assert scores.tolist() == pytest.approx([lengths(q, a) for q, a in zip(QUESTIONS, ANSWERS, strict=True)])


def test_too_few_scores_are_refused(encoder: PairEncoder) -> None:
    with serving(KServePeer(lengths, says={"rows": 4})) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        with pytest.raises(ServerFault, match=target):
            judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (KServePeer(lengths, outputs=[("logits", "FP32", (-1, 1))]), "has no score of type FP32: .*logits FP32"),
        (KServePeer(lengths, outputs=[("score", "FP64", (-1, 1))]), "has no score of type FP32"),
        (KServePeer(lengths, inputs=[("text", "BYTES", (-1, 1))]), "has no question of type BYTES"),
        (
            KServePeer(lengths, inputs=[*KServePeer(lengths).inputs, ("lang", "BYTES", (-1, 1))]),
            "also wants the inputs lang",
        ),
        (
            KServePeer(lengths, inputs=[("question", "BYTES", (-1, 2)), ("answer", "BYTES", (-1, 1))]),
            r"takes question of shape \[-1, 2\]",
        ),
    ],
)
def test_model_that_cannot_judge_is_refused_before_the_run(encoder: PairEncoder, peer: KServePeer, words: str) -> None:
    with serving(peer) as target, pytest.raises(JudgeMisfit, match=words):
        RewardJudge(JudgeConfig(target=target), encoder)


def test_optional_inputs_are_left_out(encoder: PairEncoder) -> None:
    inputs = [*KServePeer(lengths).inputs, ("language", "BYTES", (-1, 1))]
    with serving(KServePeer(lengths, inputs=inputs, optional=["language"])) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        assert len(judge.scores(QUESTIONS, pairs_of(encoder))) == 5
        judge.close()


def test_model_that_does_not_come_ends_the_run(encoder: PairEncoder) -> None:
    """It may be that it is still to be loaded: a Triton under model control says the same of both."""
    with serving(KServePeer(lengths)) as target:
        config = JudgeConfig(target=target.removesuffix("rm") + "other", timeout_s=5.0, outage_limit_s=0.5)
        with pytest.raises(JudgeGone, match="NOT_FOUND: Request for unknown model: 'other' is not found"):
            RewardJudge(config, encoder)


def test_pinned_version_that_is_no_longer_served_stops_the_run(encoder: PairEncoder) -> None:
    peer = KServePeer(lengths, versions=("1",))
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        peer.versions = ("2", "3")
        with pytest.raises(DigestMismatch, match="has the versions 2, 3, and the run began with 1"):
            judge.scores(QUESTIONS, pairs_of(encoder))
        judge.close()


def test_question_of_one_message_is_its_text_and_a_longer_conversation_is_refused(encoder: PairEncoder) -> None:
    peer = KServePeer(lengths)
    (pair,) = pairs_of(encoder, ANSWERS[:1])
    conversation = (ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello"), ChatMessage("user", "How was it?"))
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        judge.scores([(ChatMessage("user", "How was it?"),)], [pair])
        with pytest.raises(JudgeMisfit, match="conversation of 3 messages"):
            judge.scores([conversation], [pair])
        judge.close()
    assert [pairs for _, _, pairs in peer.requests] == [[("How was it?", " Good.")]]


def test_answer_without_text_is_sent_as_a_blank(encoder: PairEncoder) -> None:
    peer = KServePeer(lengths)
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        judge.scores(["A"], [TokenPair(encoder.encode_question("A"), np.array([1], np.int32))])
        judge.close()
    assert [pairs for _, _, pairs in peer.requests] == [[("A", " ")]]


@pytest.mark.parametrize(
    "target", ["kserve://host/rm", "kserve://host:8001", "kserve://host:8001/", "kserve://h:1/a/b"]
)
def test_targets_that_name_no_server_and_model_are_refused_with_the_configuration(target: str) -> None:
    with pytest.raises(ValidationError, match="kserve://host:port/model"):
        JudgeConfig(target=target)


def test_reference_cannot_be_behind_kserve(encoder: PairEncoder) -> None:
    with pytest.raises(JudgeMisfit, match="must be a rewardplane server"):
        ReferenceJudge(JudgeConfig(target="kserve://127.0.0.1:1/rm"), encoder)


def test_run_stops_when_the_judge_gives_nan(tmp_path: Path, configure: Configure) -> None:
    with serving(KServePeer(lambda q, a: math.nan)) as target:
        overrides = {**SCORES_AS_GIVEN, "updates": 1, "reward.target": target}
        with pytest.raises(ServerFault, match=target):
            run_ppo(configure(tmp_path, overrides))
    assert not (tmp_path / "run" / "checkpoints").exists()
