"""The PPO run: sample, judge, reward, update, publish."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rewardplane.modeling.checkpoint import Manifest

from ..config import ConfigError
from ..progress import RunLog
from .collect import Verdict
from .config import PpoRunConfig
from .evaluate import Evaluation, Judge
from .figures import rollout_figures
from .gae import gae, whiten
from .inputs import Files, Inputs
from .kl import AdaptiveKl, FixedKl
from .measure import measure
from .microbatch import cut
from .publish import checkpoint_directory, publish
from .rewards import kl_penalized_rewards, replace_score_without_eos
from .rollout import Rollout, ScoredRollout, TrainingBatch, pad_answers
from .setup import make_collector, make_learner
from .state import Progress, load_weights, newest_state, read_progress, save_state
from .update import ppo_epochs

log = logging.getLogger(__name__)

SAMPLE_STREAM, SCALE_STREAM, MINIBATCH_STREAM = 0, 2, 12  # 1 is the evaluation's; 10 and 11 the inputs'
SHOWN = ("score", "kl_nats", "entropy", "ended_ratio")


@dataclass(frozen=True)
class PpoResult:
    """What a run leaves behind."""

    checkpoint: Path
    manifest: Manifest
    updates: int  # fewer than asked for when the KL went over kl.stop_nats
    metrics: Path


class PpoRun:
    """Everything that lives as long as the run."""

    def __init__(self, config: PpoRunConfig, judge: Judge | None) -> None:
        self.config = config
        files = Files(config)
        self.policy, self.learner = make_learner(config)
        self.inputs = Inputs(files, self.policy, config)
        self.collector = make_collector(config, self.policy)
        self.kl = (
            FixedKl(config.kl.coef)
            if config.kl.controller == "fixed"
            else AdaptiveKl(config.kl.coef, config.kl.target_nats, config.kl.horizon_episodes)
        )
        self.evaluation = (
            Evaluation(self.collector, self.learner, self.inputs.held_out, judge, config)
            if self.inputs.held_out
            else None
        )
        self.states = config.output.directory / "states"
        self.done = 0
        self.score_mean, self.score_spread = 0.0, 1.0

    def start(self) -> None:
        """Goes on from the newest state, or fits the scale of the scores.

        Raises ConfigError when the directory holds another run, DigestMismatch when a judge has other weights.
        """
        state = newest_state(self.states)
        if state is not None:
            self._go_on(state)
        elif checkpoint_directory(self.config.output.directory).exists():
            raise ConfigError(
                f"output.directory: {self.config.output.directory} holds checkpoints of another run and no state "
                "to go on from; choose another directory"
            )
        elif self.config.score.normalise_answers:
            self._fit_scale(self.config.score.normalise_answers)
            self.learner.value.standardise(self.score_mean, self.config.score.sign * self.score_spread)
        elif self.config.score.sign == -1:
            self.learner.value.standardise(0.0, -1.0)

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
        self.done, self.kl.coef = progress.update, progress.kl_coef
        self.score_mean, self.score_spread = progress.score_mean, progress.score_spread
        log.warning("going on after update %d (%s)", self.done, state)

    def _fit_scale(self, answers: int) -> None:
        """Gives scores of the untrained policy's answers mean 0 and spread 1 (arXiv:1909.08593, 2.1)."""
        n = -(-answers // self.config.sampling.answers_per_question)
        _, verdict = self.collector.answers(self.inputs.questions.batch(0, n), [self.config.seed, SCALE_STREAM])
        scores = verdict.result().scores
        self.score_mean, self.score_spread = float(scores.mean()), max(float(scores.std()), 1e-6)

    def save(self) -> None:
        progress = Progress(
            update=self.done,
            kl_coef=self.kl.coef,
            score_mean=self.score_mean,
            score_spread=self.score_spread,
            reward_digest=self.collector.reward.digest,
            reference_digest=self.collector.reference.digest,
            settings=self.config.numbers_digest(),
        )
        save_state(self.states, self.learner, progress, self.config.output.keep_states)

    def update(self) -> dict[str, float]:
        """One turn of the loop; gives its figures."""
        config, learner, update = self.config, self.learner, self.done
        clock = Stopwatch()
        pairs, judging = self.collector.answers(self.inputs.of_update(update), [config.seed, SAMPLE_STREAM, update])
        clock.lap("sample")
        rng = np.random.default_rng([config.seed, MINIBATCH_STREAM, update])
        minibatches = cut(
            pairs,
            minibatches=config.ppo.minibatches,
            answers_per_question=config.sampling.answers_per_question,
            max_tokens=config.ppo.micro_batch_tokens,
            rng=rng,
        )
        rollout = measure(learner, pairs, self.policy.encoder.stop_token_ids, minibatches)
        clock.lap("measure")
        scored = self._scored(rollout, judging.result())
        clock.lap("judge")
        rewards = kl_penalized_rewards(
            scored.scores, rollout.logprobs, scored.ref_logprobs, rollout.answer_mask, self.kl.coef
        )
        advantages, returns = gae(rewards, rollout.values, rollout.answer_mask, config.ppo.gamma, config.ppo.gae_lambda)
        batch = TrainingBatch(
            pairs, rollout.answer_mask, rollout.logprobs, rollout.values,
            whiten(advantages, rollout.answer_mask), returns,
        )  # fmt: skip
        stats = ppo_epochs(learner, batch, minibatches, self.inputs.texts_of_update(update), config.ppo, update, rng)
        clock.lap("update")
        figures = rollout_figures(scored, rewards, returns, judging.result().scores)
        figures |= {"kl_coef": self.kl.coef, "first_ratio_deviation": stats.first_ratio_deviation or 0.0}
        self.kl.update(figures["kl_nats"], episodes=len(pairs))
        self.done += 1
        figures |= {"learning_rate": learner.policy_optimizer.learning_rate(update)}
        return figures | stats.means() | self._outage_figures() | clock.figures()

    def _scored(self, rollout: Rollout, verdict: Verdict) -> ScoredRollout:
        device = rollout.logprobs.device
        score = self.config.score
        scores = score.sign * (verdict.scores.to(device) - self.score_mean) / self.score_spread
        missing = None if score.missing_eos_score == "keep" else score.missing_eos_score
        return ScoredRollout(
            rollout,
            replace_score_without_eos(scores, rollout.ended, missing),
            pad_answers(verdict.ref_logprobs.to(device), rollout.answer_mask),
        )

    def _outage_figures(self) -> dict[str, float]:
        judges = (self.collector.reward, self.collector.reference)
        return {
            "judge_retries": float(sum(judge.outages.retries for judge in judges)),
            "judge_outage_seconds": sum(judge.outages.seconds for judge in judges),
        }


class Stopwatch:
    """Wall seconds of the stages of an update."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[f"seconds_{stage}"] = now - self._last
        self._last = now

    def figures(self) -> dict[str, float]:
        return self._seconds | {"seconds_total": sum(self._seconds.values())}


def run_ppo(config: PpoRunConfig, judge: Judge | None = None) -> PpoResult:
    """Trains a policy; publishes its checkpoints under `output.directory`/checkpoints.

    `judge` adds figures of its own to the evaluations. The line of update u in metrics.jsonl describes the
    policy after u updates and what the next update did with its answers.
    """
    torch.manual_seed(config.seed)
    with ExitStack() as stack:
        run = PpoRun(config, judge)
        stack.callback(run.collector.close)
        run.start()
        if run.evaluation is not None:
            run.evaluation.forget_from(run.done)
        resumed = run.done - 1 if run.done else None
        progress = stack.enter_context(RunLog(config.output.directory, config.updates, "ppo", resumed_update=resumed))
        while run.done < config.updates:
            update = run.done
            figures = _evaluated(run, update)
            figures |= run.update()
            progress.write(update, figures, show=SHOWN)
            _keep(run)
            if config.kl.stop_nats is not None and figures["kl_nats"] > config.kl.stop_nats:
                log.warning("stopping: KL of %.1f nats is over kl.stop_nats", figures["kl_nats"])
                break
        last = _evaluated(run, run.done, last=True)
        if last:
            progress.write(run.done, last, show=SHOWN)
        checkpoint, manifest = publish(run.policy, config, run.done)
    return PpoResult(checkpoint, manifest, run.done, config.output.directory / "metrics.jsonl")


def _evaluated(run: PpoRun, update: int, last: bool = False) -> dict[str, float]:
    every = run.config.evaluation.every
    due = last or update == 0 or (every and update % every == 0)
    return run.evaluation.run(update) if run.evaluation is not None and due else {}


def _keep(run: PpoRun) -> None:
    output = run.config.output
    if output.save_every and run.done % output.save_every == 0:
        run.save()
    if output.publish_every and run.done % output.publish_every == 0 and run.done < run.config.updates:
        publish(run.policy, run.config, run.done)
