"""Trains a policy with PPO: `rewardplane train ppo`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from rewardplane.modeling.checkpoint import Manifest, read_manifest
from rewardplane.tracing import span

from ..metrics.exporter import RunMetrics
from ..processes import ALONE, Processes
from ..progress import METRICS, RunLog
from ..run_record import write_record
from .config import PpoRunConfig
from .evaluate import Judge
from .run import PpoRun

SHOWN = ("score", "kl_nats", "entropy", "ended_ratio")


@dataclass(frozen=True)
class PpoResult:
    """What a run leaves behind."""

    checkpoint: Path
    manifest: Manifest
    updates: int  # fewer than asked for when the KL went over kl.stop_nats
    metrics: Path


def run_ppo(config: PpoRunConfig, judge: Judge | None = None, processes: Processes = ALONE) -> PpoResult:
    """Trains a policy; publishes its checkpoints under `output.directory`/checkpoints. All of `processes` must run it.

    `judge` adds figures of its own to the evaluations. The line of update u in metrics.jsonl describes the
    policy after u updates and what the next update did with its answers.
    """
    torch.manual_seed(config.seed)
    with ExitStack() as stack:
        metrics = stack.enter_context(RunMetrics(config.metrics, "ppo", updates=config.updates, device=config.device))
        run = PpoRun(config, judge, processes)
        metrics.watch(run.keeper.written, run.outages)
        stack.callback(run.collector.close)
        stack.callback(run.learner.close)
        stack.enter_context(run.keeper)
        run.start()
        if run.evaluation is not None and processes.first:
            run.evaluation.forget_from(run.done)
        resumed = run.done - 1 if run.done else None
        if processes.first:
            write_record(config.output.directory, "ppo", config.updates, config)
        progress = stack.enter_context(
            RunLog(
                config.output.directory, config.updates, "ppo",
                resumed_update=resumed, metrics=metrics, silent=not processes.first,
            )
        )  # fmt: skip
        while run.done < config.updates and not run.stopped:
            update = run.done
            figures = run.evaluate() if _is_evaluated(config, update) else {}
            with span("ppo update"):
                figures |= run.update()
            progress.write(update, figures, show=SHOWN)
            _keep(run)
        last = run.evaluate()
        if last:
            progress.write(run.done, last, show=SHOWN)
        run.publish()
        processes.from_first(run.keeper.finish)
    checkpoint = run.keeper.checkpoint(run.done)
    return PpoResult(checkpoint, read_manifest(checkpoint), run.done, config.output.directory / METRICS)


def _is_evaluated(config: PpoRunConfig, update: int) -> bool:
    return update == 0 or (bool(config.evaluation.every) and update % config.evaluation.every == 0)


def _keep(run: PpoRun) -> None:
    """Publishes before it saves: a run that is killed in between does the update again, and publishes again."""
    output, last = run.config.output, run.stopped or run.done == run.config.updates
    if output.publish_every and run.done % output.publish_every == 0 and not last:
        run.publish()
    if output.save_every and (run.stopped or _is_saved(run.config, run.done)):
        run.save()


def _is_saved(config: PpoRunConfig, done: int) -> bool:
    """The last state is saved, too. Where answers are sampled ahead it is that before the last update, which samples
    none: a run that is asked for more does that update again, and has them."""
    last = config.updates - config.sampling.ahead
    return done == last or (done < last and done % config.output.save_every == 0)
