"""Judges read one batch of questions while the next is sampled, and nobody waits for them before it must."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from judge_peer import RewardPeer, serving
from ppo_runs import QUESTIONS, Judges, Models, read_config, settings
from rewardplane.trainer.ppo.collect import Collector, EncodedQuestion
from rewardplane.trainer.ppo.setup import make_collector
from rewardplane.trainer.sharding import Trained

from rewardplane.modeling.models import Loaded, load_causal_model


@pytest.fixture(scope="module")
def policy(models: Models) -> Loaded:
    return load_causal_model(models.sft, torch.float32)


def collector_of(directory: Path, models: Models, judges: Judges, policy: Loaded, batch_questions: int) -> Collector:
    overrides = {"sampling.batch_questions": batch_questions, "sampling.answers_per_question": 2}
    return make_collector(
        read_config(directory, settings(directory, models, judges, overrides)), policy, Trained(policy.model)
    )


def encoded(policy: Loaded) -> list[EncodedQuestion]:
    return [EncodedQuestion(question, policy.encoder.encode_question(question)) for question in QUESTIONS]


def test_first_batch_is_judged_before_the_last_is_sampled(
    tmp_path: Path, models: Models, judges: Judges, policy: Loaded
) -> None:
    """The sampler waits, at its last batch, for the judge to have been asked about the first."""
    asked, prefills = threading.Event(), []

    def score_of(request: int) -> float:
        asked.set()
        return float(request)

    def wait_at_the_last(model: object, inputs: object, arguments: dict[str, torch.Tensor]) -> None:
        if arguments["input_ids"].shape[1] > 1:  # questions, and not the next tokens of answers
            prefills.append(len(prefills))
            if len(prefills) == 4:
                assert asked.wait(10), "the judge had not been asked while there was still something to sample"

    hook = policy.model.register_forward_pre_hook(wait_at_the_last, with_kwargs=True)
    with serving(RewardPeer(policy.encoder.fingerprint, score_of)) as target:
        collector = collector_of(tmp_path, models, Judges(target, judges.reference), policy, batch_questions=2)
        pairs, verdict = collector.answers(encoded(policy), [0, 0, 0])
        scores = verdict.result().scores.tolist()
        collector.close()
    hook.remove()
    assert len(prefills) == 4
    assert len(pairs) == 16
    # Batches of 2 questions with 2 answers each. Requests may arrive in another order than they were sent in: each
    # batch has one number of its own, four times.
    assert sorted(scores) == [float(n) for n in (1, 2, 3, 4) for _ in range(4)]
    assert [scores[i] for i in range(0, 16, 4)] == [scores[i + 3] for i in range(0, 16, 4)]


def test_slow_judges_are_waited_for_once_and_not_once_a_batch(
    tmp_path: Path, models: Models, judges: Judges, policy: Loaded
) -> None:
    def slow(request: int) -> float:
        time.sleep(0.4)
        return 0.0

    peer = RewardPeer(policy.encoder.fingerprint, slow)
    with serving(peer, threads=8) as target:
        collector = collector_of(tmp_path, models, Judges(target, judges.reference), policy, batch_questions=2)
        questions = encoded(policy)
        collector.answers(questions, [0, 0, 1])[1].result()  # warm
        began = time.monotonic()
        _, verdict = collector.answers(questions, [0, 0, 0])
        returned = time.monotonic() - began
        verdict.result()
        waited = time.monotonic() - began
        collector.close()
    assert returned < 0.4  # although the judges are asked four times, for 0.4 s each
    assert waited < 0.9
