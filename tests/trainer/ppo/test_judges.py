"""What the run makes of what a judge says: what it is sent, what it may not be, and which scores count."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Configure
from judge_peer import RewardPeer, serving
from other_tokenizer import save_with_other_tokenizer
from ppo_runs import SCORES_AS_GIVEN, Judges, Models, figures
from rewardplane.trainer.judges import JudgeConfig, JudgeMisfit, ReferenceJudge, RewardJudge
from rewardplane.trainer.judges.patience import Outages
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.ppo.train import run_ppo
from servers import served
from tiny_models import make_tokenizer

from rewardplane.errors import ServerFault
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import ChatMessage, TokenPair, unpack_ids


@pytest.fixture(scope="module")
def encoder() -> PairEncoder:
    """The policy's."""
    return PairEncoder(make_tokenizer(), [1], 320)


def pair(encoder: PairEncoder, answer: str) -> TokenPair:
    return TokenPair(encoder.encode_question("A"), encoder.encode_answer(answer))


def test_judge_with_the_same_tokenizer_is_sent_the_sampled_ids(encoder: PairEncoder) -> None:
    peer = RewardPeer(encoder.fingerprint, lambda n: 0.5)
    # Two tokens that the tokenizer would have merged into one: as text they would come back as another answer.
    sampled = TokenPair(encoder.encode_question("A"), np.array([*b"no", 1], np.int32))
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        assert judge.scores(["A"], [sampled]).tolist() == [0.5]
        judge.close()
    (sent,) = peer.requests
    assert unpack_ids(sent.pairs[0].tokens.answer_ids).tolist() == [*b"no", 1]
    assert sent.tokenizer_fingerprint == encoder.fingerprint
    assert sent.expected_checkpoint_digest == "peer-1"


def test_judge_with_another_tokenizer_is_sent_text(encoder: PairEncoder) -> None:
    peer = RewardPeer("another", lambda n: 0.5)
    conversation = (ChatMessage("user", "Was it good?"),)
    with serving(peer) as target:
        judge = RewardJudge(JudgeConfig(target=target), encoder)
        pairs = [pair(encoder, " It was long."), pair(encoder, " Good."), pair(encoder, "")]
        assert judge.scores(["How was it?", conversation, "A"], pairs).tolist() == [0.5, 0.5, 0.5]
        judge.close()
    (sent,) = peer.requests
    texts = [p.text for p in sent.pairs]
    assert [p.WhichOneof("form") for p in sent.pairs] == ["text", "chat", "text"]
    assert (texts[0].question, texts[0].answer) == ("How was it?", " It was long.")
    assert sent.pairs[1].chat.messages[0].content == "Was it good?"
    assert sent.pairs[1].chat.answer == " Good."
    assert texts[2].answer.strip() == ""  # the stop token and nothing else
    assert texts[2].answer  # but servers refuse an empty one
    assert sent.tokenizer_fingerprint == ""


def test_run_with_a_reward_model_of_another_tokenizer(tmp_path: Path, configure: Configure) -> None:
    other = save_with_other_tokenizer(tmp_path / "other", "reward")
    with served("reward", other) as server:
        overrides = {"updates": 1, "reward.target": server.target, "value.path": None}
        result = run_ppo(configure(tmp_path, overrides))
    assert result.updates == 1
    assert all(value is not None for row in figures(tmp_path / "run") for value in row.values())


def test_reference_with_another_tokenizer_is_refused(tmp_path: Path, encoder: PairEncoder) -> None:
    other = save_with_other_tokenizer(tmp_path / "other", "sft")
    with served("reference", other) as server, pytest.raises(JudgeMisfit, match=f"reference at {server.target} has"):
        ReferenceJudge(JudgeConfig(target=server.target), encoder)


def test_reference_is_no_reward_judge(judges: Judges, encoder: PairEncoder) -> None:
    with pytest.raises(JudgeMisfit, match=f"{judges.reference} does not score: is it the reference"):
        RewardJudge(JudgeConfig(target=judges.reference), encoder)


def test_reward_judge_is_no_reference(judges: Judges, encoder: PairEncoder) -> None:
    with pytest.raises(JudgeMisfit, match=f"{judges.reward} holds a reward model, which is no reference"):
        ReferenceJudge(JudgeConfig(target=judges.reward), encoder)


def test_calls_that_wait_at_the_same_time_count_once() -> None:
    outages = Outages()
    for began, ended in [(10.0, 12.0), (10.0, 12.5), (11.0, 12.5), (20.0, 21.0)]:
        outages.add(began, ended)
    assert outages.retries == 4
    assert outages.seconds == pytest.approx(3.5)  # from 10 to 12.5, and from 20 to 21


def test_call_that_takes_too_long_is_made_again(encoder: PairEncoder) -> None:
    def slow_at_first(n: int) -> float:
        time.sleep(0.6 if n == 1 else 0.0)
        return 0.5

    with serving(RewardPeer(encoder.fingerprint, slow_at_first)) as target:
        judge = RewardJudge(JudgeConfig(target=target, timeout_s=0.5), encoder)
        assert judge.scores(["A"], [pair(encoder, " Good.")]).tolist() == [0.5]
        judge.close()
    assert judge.outages.retries >= 1
    assert judge.outages.seconds >= 0.5


def test_score_of_0_is_a_score(tmp_path: Path, configure: Configure, models: Models, encoder: PairEncoder) -> None:
    with serving(RewardPeer(encoder.fingerprint, lambda n: 0.0)) as target:
        overrides = {**SCORES_AS_GIVEN, "updates": 1, "sampling.max_answer_tokens": 6, "reward.target": target}
        (tmp_path / "kept").mkdir()
        run_ppo(configure(tmp_path, overrides))
        run_ppo(configure(tmp_path / "kept", {**overrides, "score.missing_eos_score": "keep"}))
    (row,) = figures(tmp_path / "run")
    assert 0.0 < row["ended_ratio"] < 1.0
    # -1 for each of the 8 answers that was cut off, and 0 for the others; both sums are exact in binary.
    assert row["normalised_score"] == row["ended_ratio"] - 1.0
    assert row["score"] == row["score_std"] == 0.0
    (kept,) = figures(tmp_path / "kept/run")
    assert kept["normalised_score"] == kept["reward"] == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_score_that_is_not_finite_stops_the_run(
    tmp_path: Path, configure: Configure, encoder: PairEncoder, bad: float
) -> None:
    # 4 questions an update, 3 in a batch: updates 0 and 1 make 4 requests, so update 2 gets the bad one.
    with serving(RewardPeer(encoder.fingerprint, lambda n: bad if n == 5 else 0.1 * n)) as target:
        overrides = {**SCORES_AS_GIVEN, "output.publish_every": 0, "reward.target": target}
        with pytest.raises(ServerFault, match=target) as caught:
            run_ppo(configure(tmp_path, overrides))
    assert caught.value.reason == "NON_FINITE_SCORE"
    assert [row["update"] for row in figures(tmp_path / "run")] == [0, 1]
    assert not (tmp_path / "run" / "checkpoints").exists()
    state = newest_state(tmp_path / "run" / "states")
    assert state.name == "00000002"  # the last whole update
    tensors = torch.load(state / "tensors.pt", weights_only=True)
    assert all(t.isfinite().all() for name in ("policy", "value") for t in tensors[name].values())
