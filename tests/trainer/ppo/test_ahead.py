"""`sampling.ahead = 1`: while the judges read the answers for the next update, the epochs of this one run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Configure
from judge_peer import RewardPeer, serving
from ppo_runs import AHEAD, NOWHERE, Models, assert_same_run, digests, figures, read_config, settings
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.inputs import Files, Inputs
from rewardplane.trainer.ppo.learner import Learner
from rewardplane.trainer.ppo.measure import measure
from rewardplane.trainer.ppo.microbatch import in_order, packed_minibatch
from rewardplane.trainer.ppo.setup import make_collector, make_learner
from rewardplane.trainer.ppo.state import load_weights, read_progress
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.progress import read_metrics
from tiny_models import make_tokenizer
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoModelForCausalLM

from rewardplane.errors import RewardplaneError
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import Loaded
from rewardplane.wire import TokenPair

TEMPERATURE = 0.9  # of ppo_runs.settings
# One request to the reward judge an update, and no others.
ONE_REQUEST = {"sampling.batch_questions": 4, "evaluation.prompts": None, "score.normalise_answers": 0}


@pytest.fixture(scope="module")
def kept(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> PpoRunConfig:
    """A run of 5 updates that keeps all its states and policies."""
    keep_all = {"output.keep_states": 9, "output.publish_every": 1}
    config = configure(tmp_path_factory.mktemp("kept"), AHEAD | keep_all)
    run_ppo(config)
    return config


def under_way(config: PpoRunConfig, update: int) -> dict[str, Tensor]:
    """The answers of that update, in the state from which it begins."""
    tensors = torch.load(config.output.directory / "states" / f"{update:08d}" / "tensors.pt", weights_only=True)
    assert tensors["ahead"].keys() == {update}
    return tensors["ahead"][update]


def models_after(config: PpoRunConfig, updates: int) -> tuple[Loaded, Learner]:
    policy, learner = make_learner(config)
    if updates:
        load_weights(config.output.directory / "states" / f"{updates:08d}", learner)
    return policy, learner


def test_first_update_is_that_of_a_run_without(kept: PpoRunConfig, undisturbed: PpoRunConfig) -> None:
    assert figures(kept.output.directory)[0] == figures(undisturbed.output.directory)[0]


def test_every_update_reports_every_figure(kept: PpoRunConfig, undisturbed: PpoRunConfig) -> None:
    """Also the last one, which samples nothing."""
    ours, others = (read_metrics(config.output.directory) for config in (kept, undisturbed))
    assert [row.keys() for row in ours] == [row.keys() for row in others]
    assert [bool(row["seconds_sample"]) for row in ours[:5]] == [True] * 4 + [False]


def test_second_update_learns_from_answers_of_the_first_policy(kept: PpoRunConfig) -> None:
    """Which is the reference: the KL of its own answers is exactly 0, however far the first update moved the policy."""
    rows = read_metrics(kept.output.directory)
    assert [row["kl_nats"] for row in rows[:2]] == [0.0, 0.0]
    assert rows[2]["eval_kl_nats"] > 0.0
    assert rows[2]["kl_nats"] > 0.0
    # So the ratio of the first minibatch is that of the policies before and after one update.
    assert rows[0]["first_ratio_deviation"] == 0.0
    assert all(row["first_ratio_deviation"] > 0.0 for row in rows[1:5])


@pytest.mark.parametrize("update", [1, 2, 4])
def test_answers_are_drawn_from_the_policy_before_the_update_before(kept: PpoRunConfig, update: int) -> None:
    policy, learner = models_after(kept, update - 1)
    collector = make_collector(kept, policy, learner.policy.trained)
    questions = Inputs(Files(kept), policy, kept).of_update(update)  # those of a run without
    expected, _ = collector.answers(questions, [kept.seed, 0, update])
    collector.close()
    found = under_way(kept, update)
    assert np.concatenate([pair.answer_ids for pair in expected]).tolist() == found["answer_ids"].tolist()


def answers_of(kept: PpoRunConfig, policy: Loaded, update: int) -> list[TokenPair]:
    found = under_way(kept, update)
    questions = [q.ids for q in Inputs(Files(kept), policy, kept).of_update(update) for _ in range(2)]
    parts = found["answer_ids"].split(found["answer_mask"].sum(dim=1).tolist())
    return [TokenPair(ids, part.numpy()) for ids, part in zip(questions, parts, strict=True)]


def test_old_logprobs_are_of_the_policy_that_sampled(kept: PpoRunConfig) -> None:
    policy, _ = models_after(kept, 0)
    checkpoints = kept.output.directory / "checkpoints"
    found = under_way(kept, 3)

    def farthest(model: Any) -> float:
        distances = []
        for row, pair in enumerate(answers_of(kept, policy, 3)):
            ids = torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids]).astype(np.int64))
            begin = len(pair.question_ids)
            logprobs = (model(ids[None]).logits[0, begin - 1 : -1] / TEMPERATURE).log_softmax(-1)
            expected = logprobs.gather(1, ids[begin:, None])[:, 0]
            distances.append(float((found["logprobs"][row, : len(expected)] - expected).abs().max()))
        return max(distances)

    with torch.no_grad():
        assert farthest(AutoModelForCausalLM.from_pretrained(checkpoints / "policy-000002")) < 1e-4
        assert farthest(AutoModelForCausalLM.from_pretrained(checkpoints / "policy-000003")) > 1e-2


def test_old_values_are_of_the_value_model_beside_the_policy_that_sampled(kept: PpoRunConfig) -> None:
    found = under_way(kept, 3)

    def values_after(updates: int) -> Tensor:
        policy, learner = models_after(kept, updates)
        pairs = answers_of(kept, policy, 3)
        rows = in_order(pairs, answers_per_question=2, max_tokens=64)
        cut = (packed_minibatch(pairs, rows, torch.device("cpu")),)
        return measure(learner, pairs, policy.encoder.stop_token_ids, cut)[0].values

    torch.testing.assert_close(found["values"], values_after(2), rtol=0.0, atol=1e-4)
    assert float((found["values"] - values_after(3)).abs().max()) > 1e-2


def test_run_that_ended_goes_on_when_asked_for_more(tmp_path: Path, configure: Configure, kept: PpoRunConfig) -> None:
    """Also with the answers ahead that its last update did not sample."""
    keep_all = {"output.keep_states": 9, "output.publish_every": 1}
    run_ppo(configure(tmp_path, AHEAD | keep_all | {"updates": 2}))
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["00000001"]
    assert [row["update"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2]
    run_ppo(configure(tmp_path, AHEAD | keep_all | {"updates": 3}))
    run_ppo(configure(tmp_path, AHEAD | keep_all))
    assert_same_run(tmp_path / "run", kept.output.directory)


def test_run_that_ended_ends_the_same_when_started_again(tmp_path: Path, configure: Configure) -> None:
    config = configure(tmp_path, AHEAD | {"updates": 3, "output.save_every": 2})
    first = run_ppo(config)
    before = digests(tmp_path / "run"), figures(tmp_path / "run")
    again = run_ppo(config)
    assert (again.updates, again.manifest.digest) == (3, first.manifest.digest)
    assert (digests(tmp_path / "run"), figures(tmp_path / "run")) == before


def test_run_that_stopped_stays_stopped(tmp_path: Path, configure: Configure) -> None:
    # Answers to updates 0 and 1 come from the reference itself; those to update 2 are over any limit this small.
    config = configure(tmp_path, AHEAD | {"kl.stop_nats": 0.001, "output.publish_every": 0})
    first = run_ppo(config)
    before = digests(tmp_path / "run"), figures(tmp_path / "run")
    again = run_ppo(config)
    assert (first.updates, again.updates) == (3, 3)
    assert (digests(tmp_path / "run"), figures(tmp_path / "run")) == before
    state = tmp_path / "run" / "states" / "00000003"
    assert read_progress(state).stopped
    assert "ahead" not in torch.load(state / "tensors.pt", weights_only=True)  # nobody would use them


def test_kl_controller_sees_the_kl_of_each_update(kept: PpoRunConfig) -> None:
    """Ziegler (arXiv:1909.08593) 2.2: target 6, clipped error 0.2, a horizon of 100 and 8 answers an update."""
    rows = read_metrics(kept.output.directory)
    for row, following in pairwise(rows[:5]):
        error = min(max(row["kl_nats"] / 6.0 - 1.0, -0.2), 0.2)
        assert following["kl_coef"] == pytest.approx(row["kl_coef"] * (1 + error * 8 / 100), rel=1e-12)


@contextmanager
def reward_peer(score_of: Callable[[int], float]) -> Iterator[tuple[RewardPeer, dict[str, Any]]]:
    """And the settings that make a run ask it."""
    peer = RewardPeer(PairEncoder(make_tokenizer(), [1, *range(40, 80)], 320).fingerprint, score_of)
    with serving(peer, threads=4) as target:
        yield peer, ONE_REQUEST | {"reward.target": target}


def test_judges_may_answer_once_the_epochs_before_have_begun(tmp_path: Path, configure: Configure) -> None:
    """The reward judge keeps its answer about update u + 1 back until the first step of update u: a run that waited
    for it before it learns would never go on."""
    updates, steps_of_an_update = 3, 8  # 2 epochs of 2 minibatches, of policy and value model
    steps: list[int] = []
    begun = threading.Condition()
    order: list[str] = []

    def at_a_step(optimizer: object, args: object, kwargs: object) -> None:
        with begun:
            if len(steps) % steps_of_an_update == 0:
                update = len(steps) // steps_of_an_update
                # A request is on its way when the epochs begin; when it arrives is the network's affair.
                arrived = begun.wait_for(lambda: f"asked about {min(update + 1, updates - 1)}" in order, 20)
                assert arrived, f"update {update} learns, and the judge has not been asked about the next: {order}"
                order.append(f"epochs of {update}")
            steps.append(1)
            begun.notify_all()

    def score_of(request: int) -> float:
        about = request - 1
        with begun:
            order.append(f"asked about {about}")
            begun.notify_all()
            in_time = begun.wait_for(lambda: about == 0 or f"epochs of {about - 1}" in order, 20)
            return float(about) if in_time else float("nan")

    hook = register_optimizer_step_pre_hook(at_a_step)
    try:
        with reward_peer(score_of) as (_, asking):
            run_ppo(configure(tmp_path, AHEAD | asking | {"updates": updates}))
    finally:
        hook.remove()
    assert [row["score"] for row in read_metrics(tmp_path / "run")] == [0.0, 1.0, 2.0]
    assert [event for event in order if event.startswith("epochs")] == ["epochs of 0", "epochs of 1", "epochs of 2"]


def test_each_update_asks_once_about_the_questions_it_would_ask_about_anyway(
    tmp_path: Path, configure: Configure
) -> None:
    asked = []
    for ahead in (0, 1):
        (tmp_path / str(ahead)).mkdir()
        with reward_peer(lambda request: 0.0) as (peer, asking):
            run_ppo(configure(tmp_path / str(ahead), asking | {"updates": 3, "sampling.ahead": ahead}))
        asked.append([[pair.tokens.question_ids for pair in request.pairs] for request in peer.requests])
    assert len(asked[1]) == 3  # the last update asks about no answers that nobody will use
    assert asked[0] == asked[1]


def test_judge_that_fails_for_good_ends_the_run_which_goes_on_with_the_same_answers(
    tmp_path: Path, configure: Configure
) -> None:
    for name in ("undisturbed", "failing"):
        (tmp_path / name).mkdir()

    def scored(peer: RewardPeer) -> list[bytes]:
        return [request.SerializeToString(deterministic=True) for request in peer.requests]

    with reward_peer(lambda request: 0.5) as (undisturbed, asking):
        run_ppo(configure(tmp_path / "undisturbed", AHEAD | asking))
    with reward_peer(lambda request: float("nan") if request == 3 else 0.5) as (_, asking):
        failing = configure(tmp_path / "failing", AHEAD | asking)
        with pytest.raises(RewardplaneError):
            run_ppo(failing)
    assert [row["update"] for row in read_metrics(tmp_path / "failing" / "run")] == [0, 1]
    with reward_peer(lambda request: 0.5) as (mended, asking):
        run_ppo(configure(tmp_path / "failing", AHEAD | asking))
    # Those about update 2 were under way when the run ended.
    assert scored(mended) == scored(undisturbed)[2:]
    assert_same_run(tmp_path / "failing" / "run", tmp_path / "undisturbed" / "run")


def test_state_is_not_gone_on_from_with_another_setting(tmp_path: Path, configure: Configure) -> None:
    smallest = {"updates": 2, "evaluation.prompts": None, "score.normalise_answers": 0}
    run_ppo(configure(tmp_path, AHEAD | smallest))
    with pytest.raises(ConfigError, match="has other settings"):
        run_ppo(configure(tmp_path, smallest))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"sampling.ahead": 2}, "sampling.ahead = 2: input should be 0 or 1"),
        ({"sampling.ahead": -1}, "sampling.ahead = -1: input should be 0 or 1"),
        (AHEAD | {"updates": 1}, "sampling.ahead = 1 needs updates of 2 or more"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    overrides: dict[str, int], told: str, tmp_path: Path, models: Models
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides))
    assert told in str(caught.value)
