"""How a minibatch is cut into forwards changes rounding and nothing else; neither does padding."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ppo_gradients import Step, one_step, ragged_pairs, relative_error, training_batch
from ppo_runs import NOWHERE, Models, read_config, settings
from rewardplane.trainer.ppo.config import PpoConfig
from rewardplane.trainer.ppo.microbatch import Rows, cut
from rewardplane.trainer.ppo.pretraining import encode_texts
from rewardplane.trainer.ppo.rollout import TrainingBatch
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.processes import Processes
from torch.nn.functional import pad

PAIRS = ragged_pairs(16)
TEXTS = ["The film was good and I would see it again.", "What did you think of it?", "It was long.", "Good."]
ONE = PpoConfig(epochs=1, ptx_coef=2.0)
CUTS: dict[int, tuple[Rows, ...]] = {
    n: tuple(tuple(map(int, part)) for part in np.array_split(range(16), n)) for n in (1, 4, 16)
}
UNEVEN: tuple[Rows, ...] = ((3,), (0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11), (15, 12), (13, 14))


def step(directory: Path, models: Models, minibatch: tuple[Rows, ...], batch: TrainingBatch, config: PpoConfig) -> Step:
    overrides = {"policy_optimizer.max_grad_norm": 1e9, "value_optimizer.max_grad_norm": 1e9}  # never clipped
    policy, learner = make_learner(read_config(directory, settings(directory, models, NOWHERE, overrides)))
    return one_step(learner, batch, minibatch, config, encode_texts(TEXTS, policy.encoder, 64))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Step:
    return step(tmp_path_factory.mktemp("whole"), models, CUTS[1], training_batch(PAIRS), ONE)


@pytest.mark.parametrize("minibatch", [CUTS[4], CUTS[16], UNEVEN], ids=["4", "16", "uneven"])
def test_micro_batches_add_up_to_one_gradient(
    tmp_path: Path, models: Models, whole: Step, minibatch: tuple[Rows, ...]
) -> None:
    parts = step(tmp_path, models, minibatch, training_batch(PAIRS), ONE)
    assert relative_error(parts.policy, whole.policy) < 1e-6
    assert relative_error(parts.value, whole.value) < 1e-6
    assert parts.figures == pytest.approx(whole.figures, rel=1e-5)


def test_pretraining_texts_in_several_forwards_add_up_to_one_gradient(
    tmp_path: Path, models: Models, whole: Step
) -> None:
    one_by_one = ONE.model_copy(update={"micro_batch_tokens": 1})
    parts = step(tmp_path, models, CUTS[1], training_batch(PAIRS), one_by_one)
    assert relative_error(parts.policy, whole.policy) < 1e-6


def test_columns_of_padding_change_nothing(tmp_path: Path, models: Models, whole: Step) -> None:
    batch = training_batch(PAIRS)
    tensors = (batch.old_logprobs, batch.old_values, batch.advantages, batch.returns)
    wide = TrainingBatch(batch.pairs, pad(batch.answer_mask, (0, 5)), *(pad(t, (0, 5), value=9.0) for t in tensors))
    padded = step(tmp_path, models, CUTS[1], wide, ONE)
    assert relative_error(padded.policy, whole.policy) < 1e-6
    assert relative_error(padded.value, whole.value) < 1e-6


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("max_tokens", [1, 60, 10_000])
def test_every_answer_is_in_one_micro_batch_beside_those_to_its_question(max_tokens: int, processes: int) -> None:
    parts = [
        cut(
            PAIRS, minibatches=3, answers_per_question=2, max_tokens=max_tokens, rng=np.random.default_rng(1),
            processes=Processes(rank, processes),
        )
        for rank in range(processes)
    ]  # fmt: skip
    micro_batches = [turn.rows for part in parts for minibatch in part for turn in minibatch if turn.weight]
    assert {len(part) for part in parts} == {3}
    assert all(len({len(minibatch) for minibatch in step}) == 1 for step in zip(*parts, strict=True))
    assert sorted(row for micro in micro_batches for row in micro) == list(range(16))
    for micro in micro_batches:
        assert {row // 2 for row in micro} == {row // 2 for row in micro if row % 2}  # odd rows never alone, nor even
        assert {row + 1 for row in micro if row % 2 == 0} == {row for row in micro if row % 2}


def test_a_micro_batch_holds_no_more_tokens_than_asked_for() -> None:
    # Without sharing a pair costs Q + A; two answers to a question of 16 or more share it: Q + A + A.
    def cost(rows: tuple[int, ...]) -> int:
        questions = {row // 2: len(PAIRS[row].question_ids) for row in rows}
        stored = sum(q if q >= 16 else 2 * q for q in questions.values())
        return stored + sum(len(PAIRS[row].answer_ids) for row in rows)

    (turns,) = cut(PAIRS, minibatches=1, answers_per_question=2, max_tokens=80, rng=np.random.default_rng(1))
    minibatch = [tuple(turn.rows) for turn in turns]
    assert len(minibatch) > 1
    assert all(cost(micro) <= 80 for micro in minibatch)
    # Greedy: no micro-batch could have taken in the next question.
    pairs_of = [(micro, following[:2]) for micro, following in pairwise(minibatch)]
    assert all(cost(micro + following) > 80 for micro, following in pairs_of)
