"""What is measured of sampled answers: which of them ended, what counts as a token, and that dropout is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ppo_gradients import ragged_pairs, training_batch
from ppo_runs import NOWHERE, Models, read_config, settings
from rewardplane.trainer.batches import Turn
from rewardplane.trainer.ppo.collect import Verdict
from rewardplane.trainer.ppo.config import PpoConfig, ScoreConfig
from rewardplane.trainer.ppo.figures import rollout_figures, value_figures
from rewardplane.trainer.ppo.learner import Learner
from rewardplane.trainer.ppo.measure import FirstForward, measure
from rewardplane.trainer.ppo.microbatch import packed_minibatch
from rewardplane.trainer.ppo.rollout import Rollout, ScoredRollout
from rewardplane.trainer.ppo.scoring import ScoreScale, score_rollout, token_rewards
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.ppo.update import ppo_epochs
from tiny_models import save_tiny
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM

from rewardplane.wire import TokenPair

CPU = torch.device("cpu")
ROWS = (Turn((0, 1, 2, 3)), Turn((4, 5, 6, 7)))


def learner_of(directory: Path, models: Models, overrides: Mapping[str, Any]) -> tuple[Learner, tuple[int, ...]]:
    """And the stop tokens."""
    policy, learner = make_learner(read_config(directory, settings(directory, models, NOWHERE, overrides)))
    return learner, policy.encoder.stop_token_ids


def ending_with(*last: int) -> tuple[TokenPair, ...]:
    """A pair for each last token of an answer."""
    return tuple(TokenPair(np.array([0, 5, 6], np.int32), np.array([90, 91, token], np.int32)) for token in last)


def measured(learner: Learner, pairs: tuple[TokenPair, ...], stops: tuple[int, ...]) -> Rollout:
    return measure(learner, pairs, stops, (packed_minibatch(pairs, [Turn(range(len(pairs)))], CPU),))[0]


def test_stop_token_that_is_not_eos_ends_an_answer_and_carries_its_score(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {})
    assert stops[0] == 1  # the tokenizer's </s>
    assert 57 in stops
    assert 200 not in stops
    rollout = measured(learner, ending_with(1, 57, 200), stops)
    assert rollout.ended.tolist() == [True, True, False]
    verdict = Verdict(torch.tensor([2.0, 3.0, 4.0]), rollout.logprobs[rollout.answer_mask])
    scored = score_rollout(rollout, verdict, ScoreScale(), ScoreConfig(missing_eos_score=-1.0))
    rewards = token_rewards(scored, kl_coef=0.1, config=PpoConfig())  # policy == reference: nothing but the scores
    assert rewards.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 3.0], [0.0, 0.0, -1.0]]


def test_logprobs_are_of_the_temperature_that_answers_are_sampled_at(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {"sampling.temperature": 0.5})
    (pair,) = ending_with(1)
    rollout = measured(learner, (pair,), stops)
    model = AutoModelForCausalLM.from_pretrained(models.sft)
    ids = torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids]).astype(np.int64))
    of_answer = (model(ids[None]).logits[0, 2:-1] / 0.5).log_softmax(-1)
    expected = of_answer.gather(1, ids[3:, None])[:, 0]
    assert rollout.logprobs[0].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    entropy = -(of_answer.exp() * of_answer).sum(-1)
    assert rollout.entropies[0].tolist() == pytest.approx(entropy.tolist(), abs=1e-5)


def test_scale_of_scores_by_hand() -> None:
    # Mean 2; with n - 1 in the denominator the variance is (1 + 0 + 1) / 2.
    assert ScoreScale.of(torch.tensor([1.0, 2.0, 3.0])) == ScoreScale(2.0, 1.0)
    assert ScoreScale.of(torch.tensor([5.0, 5.0])).spread > 0  # equal scores are divided by something


def test_whitened_rewards_have_variance_1_over_real_tokens_and_keep_their_mean(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {})
    pairs = (*ending_with(1), TokenPair(np.array([0, 5], np.int32), np.array([90, 1], np.int32)))
    rollout = measured(learner, pairs, stops)
    verdict = Verdict(torch.tensor([3.0, -1.0]), rollout.logprobs[rollout.answer_mask])
    scored = score_rollout(rollout, verdict, ScoreScale(), ScoreConfig())
    rewards = token_rewards(scored, kl_coef=0.1, config=PpoConfig(whiten_rewards=True))
    # 0, 0, 3 and 0, -1 have mean 0.4 and variance (3 * 0.16 + 2.6^2 + 1.4^2) / 5 = 1.84.
    scaled = [(x - 0.4) / 1.84**0.5 + 0.4 for x in (0.0, 0.0, 3.0, 0.0, -1.0)]
    assert rewards[rollout.answer_mask].tolist() == pytest.approx(scaled, abs=1e-5)
    assert rewards[1, 2] == 0.0


def test_scores_are_scaled_before_they_are_replaced(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {})
    rollout = measured(learner, ending_with(1, 200), stops)
    verdict = Verdict(torch.tensor([7.0, 7.0]), rollout.logprobs[rollout.answer_mask])
    # (7 - 4) / 1.5 = 2; the missing stop token costs what it costs, on the scale that training sees.
    assert score_rollout(rollout, verdict, ScoreScale(4.0, 1.5), ScoreConfig()).scores.tolist() == [2.0, -1.0]
    turned = score_rollout(rollout, verdict, ScoreScale(4.0, 1.5), ScoreConfig(sign=-1))
    assert turned.scores.tolist() == [-2.0, -1.0]


def test_short_answers_get_the_score_of_short_answers(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {})
    pairs = (*ending_with(1), TokenPair(np.array([0, 5], np.int32), np.array([90, 1], np.int32)))
    rollout = measured(learner, pairs, stops)
    verdict = Verdict(torch.tensor([2.0, 2.0]), rollout.logprobs[rollout.answer_mask])
    config = ScoreConfig(min_answer_tokens=3, short_answer_score=-0.5)
    assert score_rollout(rollout, verdict, ScoreScale(), config).scores.tolist() == [2.0, -0.5]


def widened(rollout: Rollout, columns: int) -> Rollout:
    def wide(x: Tensor) -> Tensor:
        return pad(x, (0, columns), value=9.0)

    return replace(
        rollout,
        answer_mask=pad(rollout.answer_mask, (0, columns), value=False),
        logprobs=wide(rollout.logprobs), values=wide(rollout.values), entropies=wide(rollout.entropies),
    )  # fmt: skip


def test_padding_takes_no_part_in_any_figure(tmp_path: Path, models: Models) -> None:
    learner, stops = learner_of(tmp_path, models, {})
    rollout = measured(learner, ragged_pairs(8), stops)
    drawn = torch.randn(rollout.values.shape, generator=torch.Generator().manual_seed(0))
    scores, rewards = torch.arange(8.0), drawn * rollout.answer_mask
    figures, wide_figures = (
        rollout_figures(ScoredRollout(r, scores, pad(rollout.logprobs - 0.1, (0, n))), pad(rewards, (0, n)), scores)
        | value_figures(r, pad(rewards, (0, n)))
        for r, n in ((rollout, 0), (widened(rollout, 3), 3))
    )
    assert wide_figures == pytest.approx(figures, rel=1e-5, abs=1e-6)  # sums over more columns round otherwise
    # An answer of A tokens has log-ratio 0.1 at each of them.
    assert figures["kl_nats"] == pytest.approx(0.1 * figures["answer_tokens"], rel=1e-4)


def test_dropout_of_the_sft_model_is_off(tmp_path: Path, models: Models) -> None:
    save_tiny(tmp_path / "gpt2", "sft", "gpt2", seed=4, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    overrides = {"policy.path": str(tmp_path / "gpt2"), "value.path": None}
    learner, stops = learner_of(tmp_path, models, overrides)
    pairs = ragged_pairs(8)
    minibatch = packed_minibatch(pairs, ROWS, CPU)
    rollout, _ = measure(learner, pairs, stops, (minibatch,))
    batch = replace(training_batch(pairs), old_logprobs=rollout.logprobs)
    stats = ppo_epochs(
        learner, FirstForward(), batch, (minibatch,), None, PpoConfig(epochs=1), 0, np.random.default_rng(0)
    )
    assert stats.first_ratio_deviation == 0.0
    assert stats.means()["clip_ratio"] == 0.0


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_the_first_step_gives_the_same_bits_from_the_measured_forward(
    tmp_path: Path, models: Models, micro_batches: int
) -> None:
    pairs = ragged_pairs(8)
    size = len(pairs) // micro_batches
    after = []
    for reuse in (False, True):
        learner, stops = learner_of(tmp_path, models, {})
        parts = [Turn(range(start, start + size)) for start in range(0, len(pairs), size)]
        minibatches = (packed_minibatch(pairs, parts, CPU),)
        rollout, first = measure(learner, pairs, stops, minibatches)
        assert (first.logprobs is not None) == (first.values is not None) == (micro_batches == 1)
        batch = replace(training_batch(pairs), old_logprobs=rollout.logprobs, old_values=rollout.values)
        first = first if reuse else FirstForward()
        ppo_epochs(learner, first, batch, minibatches, None, PpoConfig(epochs=2), 0, np.random.default_rng(0))
        after.append([p.detach() for part in (learner.policy, learner.value) for p in part.model.parameters()])
    assert all(map(torch.equal, *after))


def test_dropout_of_the_value_model_is_off(tmp_path: Path, models: Models) -> None:
    save_tiny(tmp_path / "gpt2", "sft", "gpt2", seed=4, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    learner, stops = learner_of(tmp_path, models, {"policy.path": str(tmp_path / "gpt2"), "value.path": None})
    once, again = (measured(learner, ragged_pairs(8), stops).values for _ in range(2))
    assert torch.equal(once, again)
