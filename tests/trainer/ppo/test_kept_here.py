"""What a run keeps of itself: the best policy, the newest ones, and its end when the KL went too far."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Configure
from ppo_runs import NOWHERE, Models, digests, figures, read_config, settings
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.ppo.state import newest_state, read_progress, snapshot
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.ppo.writer import Writer

ONE_LAYER_OF_QUESTIONS = {"sampling.questions_per_update": 2, "score.normalise_answers": 0}


def judged(figures_in_order: Sequence[float]) -> Any:
    """Says at the evaluations, before updates 0, 2 and 4 and at the end, what a test tells it."""
    left = list(figures_in_order)

    def judge(questions: Sequence[str], answers: Sequence[str]) -> Mapping[str, float]:
        return {"taste": left.pop(0)}

    return judge


def published(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "run" / "checkpoints").iterdir())


def test_best_and_newest_policies_are_kept(tmp_path: Path, configure: Configure) -> None:
    overrides = {"output.keep_best": "eval_taste", "output.keep_published": 1, "output.publish_every": 1}
    run_ppo(configure(tmp_path, {**ONE_LAYER_OF_QUESTIONS, **overrides}), judged([9.0, 3.0, 1.0, 2.0]))
    # What the run began with was the best, and is no policy of this run.
    assert published(tmp_path) == ["policy-000002", "policy-000005"]
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    assert best == {"checkpoint": "policy-000002", "update": 2, "eval_taste": 3.0}


def test_best_policy_is_remembered_when_the_run_goes_on(tmp_path: Path, configure: Configure) -> None:
    overrides = {**ONE_LAYER_OF_QUESTIONS, "output.keep_best": "eval_taste", "output.publish_every": 0}
    overrides |= {"output.keep_published": 1}
    run_ppo(configure(tmp_path, {**overrides, "updates": 3}), judged([0.0, 5.0, 4.0]))  # at 0 and 2, and at the end
    run_ppo(configure(tmp_path, overrides), judged([3.0, 4.5]))  # at 4, and at the end
    assert published(tmp_path) == ["policy-000002", "policy-000005"]
    assert read_progress(newest_state(tmp_path / "run" / "states")).best.update == 2


def test_policy_is_published_once_although_it_is_best_and_last(tmp_path: Path, configure: Configure) -> None:
    overrides = {**ONE_LAYER_OF_QUESTIONS, "updates": 2, "output.keep_best": "eval_score", "output.publish_every": 2}
    result = run_ppo(configure(tmp_path, overrides))
    assert published(tmp_path) == ["policy-000002"]
    assert result.manifest.policy_version == 2


def test_figure_that_evaluations_do_not_give_is_named(tmp_path: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"output.keep_best = eval_taste: evaluations give eval_score, eval_kl_nats"):
        run_ppo(configure(tmp_path, {**ONE_LAYER_OF_QUESTIONS, "output.keep_best": "eval_taste"}))


def test_run_that_stopped_stays_stopped(tmp_path: Path, configure: Configure) -> None:
    # The answers to update 1 are over any limit this small. States are only saved every third update, and at the stop.
    overrides = {"kl.stop_nats": 0.001, "output.save_every": 3, "output.publish_every": 0}
    first = run_ppo(configure(tmp_path, overrides))
    before = digests(tmp_path / "run"), figures(tmp_path / "run")
    again = run_ppo(configure(tmp_path, overrides))
    assert (first.updates, again.updates) == (2, 2)
    assert (digests(tmp_path / "run"), figures(tmp_path / "run")) == before


def test_the_last_update_is_saved_whatever_its_number(tmp_path: Path, configure: Configure) -> None:
    overrides = {**ONE_LAYER_OF_QUESTIONS, "evaluation.prompts": None, "updates": 2, "output.save_every": 10}
    run_ppo(configure(tmp_path, overrides))
    assert newest_state(tmp_path / "run" / "states").name == "00000002"


def test_copies_are_of_the_moment_in_which_they_were_taken(tmp_path: Path, models: Models) -> None:
    policy, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
    expected = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    state, model = snapshot(learner, {}), learner.policy.trained.copy()
    with torch.no_grad():
        for p in policy.model.parameters():
            p.add_(1.0)
    for name, value in expected.items():
        assert torch.equal(state["policy"][name], value)
        assert torch.equal(model.get_parameter(name), value)


def test_writing_does_not_hold_up_who_gave_the_task() -> None:
    may_end = threading.Event()
    done: list[int] = []
    with Writer() as writer:
        for number in (1, 2):
            writer.submit(lambda number=number: (may_end.wait(10), done.append(number)))
        assert not done
        threading.Timer(0.2, may_end.set).start()
        began = time.monotonic()
        writer.submit(lambda: done.append(3))  # two are waiting: no third copy is held in memory
        assert time.monotonic() - began > 0.1
    assert done == [1, 2, 3]


def test_what_could_not_be_written_ends_the_run() -> None:
    def fails() -> None:
        raise OSError("disk full")

    with Writer() as writer:
        writer.submit(fails)
        with pytest.raises(OSError, match="disk full"):
            writer.finish()


def test_what_was_given_is_written_also_when_the_run_fails() -> None:
    done: list[int] = []

    def fail_after_giving_a_task() -> None:
        with Writer() as writer:
            writer.submit(lambda: (time.sleep(0.1), done.append(1)))
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_giving_a_task()
    assert done == [1]
