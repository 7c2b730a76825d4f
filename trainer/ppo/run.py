"""One PPO run: what lives as long as it, and one turn of its loop."""

from __future__ import annotations

import logging
from pathlib import Path

from ..config import ConfigError
from ..judges import Outages
from ..processes import ALONE, Processes
from .config import PpoRunConfig
from .evaluate import Evaluation, Judge
from .figures import rollout_figures, value_figures
from .inputs import Files, Inputs
from .keeper import Keeper
from .kl import AdaptiveKl, FixedKl
from .rollout import Rollout
from .sampler import AskedRollout, Sampler
from .scoring import ScoreScale, score_rollout, token_rewards, training_batch
from .setup import make_collector, make_learner
from .state import Best, Progress, load_weights, read_ahead, read_progress
from .stopwatch import Stopwatch
from .update import ppo_epochs

log = logging.getLogger(__name__)

SCALE_STREAM = 2  # of random numbers; sampler.py has the others


class PpoRun:
    """Everything that lives as long as the run."""

    def __init__(self, config: PpoRunConfig, judge: Judge | None, processes: Processes = ALONE) -> None:
        self.config = config
        files = Files(config)
        self.keeper = Keeper(config.output, config.policy.name)
        self.processes = processes
        self.policy, self.learner = make_learner(config, processes)
        try:
            self.inputs = Inputs(files, self.policy, config)
            self.collector = make_collector(config, self.policy, self.learner.policy.trained)
        except BaseException:
            self.learner.close()
            raise
        self.sampler = Sampler(config, self.policy, self.learner, self.inputs, self.collector)
        self.kl = (
            FixedKl(config.kl.coef)
            if config.kl.controller == "fixed"
            else AdaptiveKl(config.kl.coef, config.kl.target_nats, config.kl.horizon_episodes)
        )
        self.evaluation = (
            Evaluation(self.collector, self.learner.policy, self.inputs.held_out, judge, config)
            if self.inputs.held_out
            else None
        )
        self.asked: list[AskedRollout] = []  # of the updates from `done` on
        self.done = 0
        self.stopped = False
        self.best: Best | None = None
        self.scale = ScoreScale()

    def start(self) -> None:
        """Goes on from the newest state, or fits the scale of the scores.

        Raises ConfigError when the directory holds another run, DigestMismatch when a judge has other weights.
        """
        for judge in (self.collector.reward, self.collector.reference):
            judge.require(self.processes.of_first(judge.digest))
        newest = self.processes.from_first(self.keeper.newest_state)
        if newest is not None:
            self._go_on(self.processes.from_first(lambda: self.keeper.fetch_state(newest)))
            return
        if self.config.score.normalise_answers:
            self._fit_scale(self.config.score.normalise_answers)
        if self.learner.value is not None:
            self.learner.value.standardise(self.scale.mean, self.config.score.sign * self.scale.spread)

    def _go_on(self, state: Path) -> None:
        progress = read_progress(state)
        if progress.settings != self.config.numbers_digest():
            raise ConfigError(
                f"output.directory: the run in {self.config.output.directory} has other settings; choose another "
                "directory, or give it the settings that it began with"
            )
        self.collector.reward.require(progress.reward_digest)
        self.collector.reference.require(progress.reference_digest)
        load_weights(state, self.learner)
        self.done, self.stopped, self.kl.coef = progress.update, progress.stopped, progress.kl_coef
        self.scale, self.best = progress.scale, progress.best
        self.keeper.remember_best(self.best)
        if self.collector.server is not None:
            self.processes.from_first(lambda: self.keeper.forget_published(self.done))
        if self.done < self.config.updates and not self.stopped:
            self._ask_again(state)
        log.warning("going on after update %d (%s)", self.done, state)

    def _ask_again(self, state: Path) -> None:
        n, device = self.config.sampling.answers_per_question, self.learner.policy.trained.device
        for update, tensors in read_ahead(state).items():
            question_ids = [question.ids for question in self.inputs.of_update(update) for _ in range(n)]
            self.asked.append(self.sampler.ask_again(update, Rollout.of_tensors(tensors, question_ids, device)))

    def _fit_scale(self, answers: int) -> None:
        """Gives scores of the untrained policy's answers mean 0 and spread 1 (arXiv:1909.08593, 2.1)."""
        self.show_policy()
        n = -(-answers // self.config.sampling.answers_per_question)
        _, verdict = self.collector.answers(self.inputs.questions.batch(0, n), [self.config.seed, SCALE_STREAM])
        self.scale = ScoreScale.of(verdict.result().scores)

    def save(self) -> None:
        progress = Progress(
            update=self.done,
            stopped=self.stopped,
            best=self.best,
            kl_coef=self.kl.coef,
            scale=self.scale,
            reward_digest=self.collector.reward.digest,
            reference_digest=self.collector.reference.digest,
            settings=self.config.numbers_digest(),
        )
        self.keeper.save(self.learner, progress, {asked.update: asked.rollout for asked in self.asked})

    def publish(self) -> None:
        self.keeper.publish(self.policy, self.learner.policy.trained, self.done, self.best)

    def show_policy(self) -> None:
        """A server that samples for the run gets the policy as it is now, and is waited for."""
        if self.collector.server is not None:
            self.publish()
            self.collector.server.follow(self.processes.from_first(lambda: self.keeper.published(self.done).digest))

    def update(self) -> dict[str, float]:
        """One turn of the loop; gives its figures."""
        config, learner, update = self.config, self.learner, self.done
        clock = Stopwatch("sample", "measure")
        for later in range(update + len(self.asked), min(update + config.sampling.ahead + 1, config.updates)):
            self.show_policy()
            self.asked.append(self.sampler.sample(later, clock))
        asked = self.asked.pop(0)
        rollout, verdict = asked.rollout, asked.judging.result()
        clock.lap("judge")
        scored = score_rollout(rollout, verdict, self.scale, config.score)
        rewards = token_rewards(scored, self.kl.coef, config.ppo)
        batch = training_batch(rollout, rewards, config.ppo, config.sampling.answers_per_question)
        texts = self.inputs.texts_of_update(update)
        stats = ppo_epochs(learner, asked.first, batch, asked.minibatches, texts, config.ppo, update, asked.rng)
        clock.lap("update")
        figures = rollout_figures(scored, rewards, verdict.scores)
        figures |= value_figures(rollout, batch.returns) if learner.value is not None else {}
        figures |= {"kl_coef": self.kl.coef, "first_ratio_deviation": stats.first_ratio_deviation}
        figures |= {"learning_rate": learner.policy.optimizer.learning_rate(update)}
        figures = self.processes.of_first(figures)  # a last bit must not part them
        self.kl.update(figures["kl_nats"], episodes=len(rollout.pairs))
        self.stopped = config.kl.stop_nats is not None and figures["kl_nats"] > config.kl.stop_nats
        if self.stopped:
            log.warning("stopping: KL of %.1f nats is over kl.stop_nats", figures["kl_nats"])
            self.asked.clear()
        self.done += 1
        return figures | stats.means() | self._outage_figures() | clock.figures()

    def evaluate(self) -> dict[str, float]:
        """Figures of the policy as it is; publishes it when it is the best so far."""
        if self.evaluation is None:
            return {}
        clock = Stopwatch()
        self.show_policy()
        figures = self.processes.of_first(self.evaluation.run(self.done))
        clock.lap("evaluate")
        name = self.config.output.keep_best
        if name is not None:
            if name not in figures:
                raise ConfigError(f"output.keep_best = {name}: evaluations give {', '.join(figures)}")
            # The policy that the run began with is there already.
            if self.done and (self.best is None or figures[name] > self.best.value):
                self.best = Best(self.done, figures[name])
                self.publish()
        return figures | clock.laps

    @property
    def outages(self) -> dict[str, Outages]:
        """By judge; the server that samples for the run is waited for as they are."""
        collector = self.collector
        asked = (collector.reward, collector.reference, *([collector.server] if collector.server else []))
        return {judge.role: judge.outages for judge in asked}

    def _outage_figures(self) -> dict[str, float]:
        outages = self.outages.values()
        own = (sum(judge.retries for judge in outages), sum(judge.seconds for judge in outages))
        retries, seconds = zip(*self.processes.gather(own), strict=True)
        # One process that waits makes all of them wait.
        return {"judge_retries": float(sum(retries)), "judge_outage_seconds": max(seconds)}
