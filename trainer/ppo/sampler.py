"""Gives an update its answers: sampled, measured, and with the judges at work on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardplane.modeling.models import Loaded
from rewardplane.wire import TokenPair

from .collect import Collector, Judging
from .config import PpoRunConfig
from .inputs import Inputs
from .learner import Learner
from .measure import FirstForward, measure
from .microbatch import Minibatch, cut, packed_minibatch
from .rollout import Rollout
from .stopwatch import Stopwatch

SAMPLE_STREAM, MINIBATCH_STREAM = 0, 12  # 1 is the evaluation's, 2 the scale's; 10 and 11 the inputs'


@dataclass(frozen=True)
class AskedRollout:
    """A rollout that the judges have been asked about, cut for the steps of its update."""

    update: int
    rollout: Rollout
    minibatches: list[Minibatch]
    first: FirstForward
    judging: Judging
    rng: np.random.Generator  # has drawn the cut, and draws the order of the later epochs


class Sampler:
    """Samples from the policy as it is, and measures with both models as they are."""

    def __init__(
        self, config: PpoRunConfig, policy: Loaded, learner: Learner, inputs: Inputs, collector: Collector
    ) -> None:
        self._config = config
        self._policy = policy
        self._learner = learner
        self._inputs = inputs
        self._collector = collector

    def sample(self, update: int, clock: Stopwatch) -> AskedRollout:
        """Answers to the questions of that update; while the judges read them, they are measured."""
        seed = [self._config.seed, SAMPLE_STREAM, update]
        pairs, judging = self._collector.answers(self._inputs.of_update(update), seed)
        clock.lap("sample")
        minibatches, rng = self._cut(pairs, update)
        stops, on_policy = self._policy.encoder.stop_token_ids, not self._config.sampling.ahead
        rollout, first = measure(self._learner, pairs, stops, minibatches, may_keep=on_policy)
        clock.lap("measure")
        return AskedRollout(update, rollout, minibatches, first, judging, rng)

    def ask_again(self, update: int, rollout: Rollout) -> AskedRollout:
        """About answers that were under way when the run was stopped."""
        judging = self._collector.ask(self._inputs.of_update(update), rollout.pairs)
        minibatches, rng = self._cut(rollout.pairs, update)
        return AskedRollout(update, rollout, minibatches, FirstForward(), judging, rng)

    def _cut(self, pairs: Sequence[TokenPair], update: int) -> tuple[list[Minibatch], np.random.Generator]:
        rng = np.random.default_rng([self._config.seed, MINIBATCH_STREAM, update])
        rows = cut(
            pairs,
            minibatches=self._config.ppo.minibatches,
            answers_per_question=self._config.sampling.answers_per_question,
            max_tokens=self._config.ppo.micro_batch_tokens,
            rng=rng,
            processes=self._learner.processes,
        )
        return [packed_minibatch(pairs, part, self._learner.policy.trained.device) for part in rows], rng
