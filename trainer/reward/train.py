"""Training of the reward model: K answers cost the question once and K answers, forward and backward."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardplane.modeling.checkpoint import Manifest, save_checkpoint
from rewardplane.modeling.models import Loaded, pair_scores
from rewardplane.modeling.padded import final_linear, is_encoder
from rewardplane.wire import TokenPair

from ..batches import by_count, shuffled, turns
from ..data import BadData, read_demonstrations, read_ranked, to_pair
from ..lora import adapt
from ..metrics.exporter import RunMetrics
from ..models import check_model_directory, check_signed, new_checkpoint_directory
from ..optim import Optimizer
from ..precision import Precision, autocast
from ..processes import ALONE, Processes
from ..progress import RunLog, pace
from ..recompute import recompute_layers
from ..run_record import write_record
from ..sharding import Trained
from ..states import RunStates
from ..truncation import fit
from .config import RewardConfig
from .evaluate import Evaluation, evaluate, ranked_right
from .groups import Group, encode_groups, shuffle_ranks
from .head import load_backbone
from .loss import kwise_loss
from .offset import mean_score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RewardResult:
    checkpoint: Path
    manifest: Manifest
    heldout: Evaluation | None
    """On the held-out rankings if there are any."""
    reward_offset: float
    questions: int
    """Questions trained on, once an epoch."""
    skipped_questions: int
    """Questions of the training file without two answers of different rank."""


@dataclass(frozen=True)
class Step:
    """What one optimizer batch showed, before its step."""

    loss: float
    accuracy: float


def run_reward(config: RewardConfig, processes: Processes = ALONE) -> RewardResult:
    """Trains, measures, shifts and saves; goes on where it was interrupted. All of `processes` must run it.

    Raises ConfigError, BadData or BadCheckpoint before training.
    """
    directory = new_checkpoint_directory(config.output)
    check_model_directory("model.path", config.model.path)
    check_signed(config.trusted_keys, model_path=config.model.path)
    data = _Data(config)
    loaded = load_backbone(config.model.path, processes.loading_device(config.device), config.seed)
    data.encode(loaded)
    states = RunStates(config.output, config.save_every, config.numbers_digest())
    adapt(loaded.model, config.lora, head=final_linear(loaded.model), seed=config.seed)
    if config.gradient_checkpointing:
        recompute_layers(loaded.model)
    trained = Trained(loaded.model, processes)
    batches = [batch for epoch in range(config.epochs) for batch in epoch_batches(data.groups, config, epoch)]
    if processes.first:
        write_record(config.output, "reward", len(batches), config)
    with RunMetrics(config.metrics, "reward", updates=len(batches), device=str(loaded.model.device)) as metrics:
        metrics.watch(states.written)
        heldout = _train(config, trained, batches, data.heldout, states, metrics)
        offset = mean_score(
            trained, data.references, config.micro_batch_tokens, sample=config.reference_answers, seed=config.seed
        )
        model = trained.finished()

        def save() -> Manifest:
            model.config.reward_offset = offset
            return save_checkpoint(
                directory, model, loaded.encoder.tokenizer,
                tokenizer_fingerprint=loaded.encoder.fingerprint, model_name=config.name, kind="reward",
            )  # fmt: skip

        with states.written.timed("publish"):
            manifest = processes.from_first(save)
        if processes.first:
            states.remove()
    return RewardResult(directory, manifest, heldout, offset, len(data.groups), data.skipped)


class _Data:
    """The files of a run: read and checked at once, encoded when the tokenizer is there."""

    def __init__(self, config: RewardConfig) -> None:
        self.config = config
        self._train = read_ranked(config.data.train)
        self._heldout = read_ranked(config.data.heldout) if config.data.heldout else []
        self._reference = read_demonstrations(config.data.reference) if config.data.reference else []

    def encode(self, loaded: Loaded) -> None:
        encoder, limit = loaded.encoder, loaded.max_pair_tokens
        every = self._encode(self.config.data.train, self._train, loaded)
        if self.config.shuffle_labels:
            every = shuffle_ranks(every, self.config.seed)
        self.groups = [group for group in every if group.has_pair]
        self.skipped = len(every) - len(self.groups)
        if not self.groups:
            raise BadData(f"{self.config.data.train}: no question has two answers with different ranks")
        if self.skipped:
            log.warning("%d of %d questions have no answers of different rank", self.skipped, len(every))
        heldout_path = self.config.data.heldout
        self.heldout = self._encode(heldout_path, self._heldout, loaded) if heldout_path else []
        if heldout_path and not any(group.has_pair for group in self.heldout):
            raise BadData(f"{heldout_path}: no question has two answers with different ranks")
        self.references: list[TokenPair] = [pair for group in every for pair in group.pairs]
        if self._reference:
            encoded = (encoder.encode(to_pair(d.question, d.answer)) for d in self._reference)
            self.references = [fit(pair, limit, encoder.start_token_id) for pair in encoded]

    @staticmethod
    def _encode(path: Path, ranked: Sequence[Any], loaded: Loaded) -> list[Group]:
        limit = loaded.max_pair_tokens
        groups, losses = encode_groups(ranked, loaded.encoder, limit, shared=not is_encoder(loaded.model.config))
        if losses.cut_questions or losses.dropped_answers:
            log.warning(
                "%s: %d questions were cut and %d answers left out; the model takes %d tokens",
                path, losses.cut_questions, losses.dropped_answers, limit,
            )  # fmt: skip
        return groups


def _train(
    config: RewardConfig,
    trained: Trained,
    batches: Sequence[Sequence[Group]],
    held_out: Sequence[Group],
    states: RunStates,
    run_metrics: RunMetrics,
) -> Evaluation | None:
    optimizer = Optimizer([trained], config.optimizer, total_updates=len(batches))
    done = states.resume(trained, optimizer)
    heldout = None
    resumed = done - 1 if done else None
    with RunLog(
        config.output, len(batches), "reward",
        resumed_update=resumed, metrics=run_metrics, silent=not trained.processes.first,
    ) as run_log:  # fmt: skip
        for update, batch in enumerate(batches[done:], done):
            began = time.monotonic()
            step = accumulate(trained, batch, config.micro_batch_tokens, config.precision)
            metrics = {"loss": step.loss, "accuracy": step.accuracy}
            metrics |= {"learning_rate": optimizer.learning_rate(update), "grad_norm": optimizer.step(update)}
            metrics |= pace(sum(group.num_tokens for group in batch), time.monotonic() - began)
            if held_out and _is_measured(config, update + 1, len(batches)):
                heldout = evaluate(trained, held_out, config.micro_batch_tokens)
                metrics |= {"heldout_accuracy": heldout.accuracy, "heldout_mean_score": heldout.mean_score}
            run_log.write(update, metrics, show=["loss", "accuracy", "heldout_accuracy", "tokens_per_s"])
            if update + 1 < len(batches):
                states.save_when_due(trained, optimizer, update + 1)
    return heldout


def _is_measured(config: RewardConfig, done: int, total: int) -> bool:
    return done == total or (config.evaluate_every > 0 and done % config.evaluate_every == 0)


def epoch_batches(groups: Sequence[Group], config: RewardConfig, epoch: int) -> list[list[Group]]:
    """The optimizer batches of one epoch."""
    order = shuffled(len(groups), config.seed, epoch)
    return [[groups[i] for i in batch] for batch in by_count(order, config.batch_questions)]


def accumulate(trained: Trained, batch: Sequence[Group], micro_batch_tokens: int, precision: Precision) -> Step:
    """Adds the gradient of the batch's K-wise loss to the parameters.

    A question and its answers are never split. Every micro-batch is weighted by its share of the batch's
    questions, so the cut into micro-batches and processes changes only rounding.
    """
    processes, device = trained.processes, trained.model.device
    count = sum(group.has_pair for group in batch)
    loss = right = pairs = 0.0
    costs = [group.num_tokens for group in batch]
    for turn in turns(range(len(batch)), costs, micro_batch_tokens, processes.count)[processes.rank]:
        groups = [batch[i] for i in turn.rows]
        with autocast(precision, device):
            scores = trained(pair_scores, [pair for group in groups for pair in group.pairs])
        mean, questions = kwise_loss(scores, [group.ranks for group in groups])
        part = mean * (turn.weight * questions / count)
        part.backward()
        loss += part.item()
        by_question = scores.detach().cpu().split([len(group.pairs) for group in groups])
        for own, group in zip(by_question, groups, strict=True):
            own_right, own_pairs = ranked_right(own.numpy(), group.ranks)
            right, pairs = right + turn.weight * own_right, pairs + turn.weight * own_pairs
    loss, right, pairs = processes.sums([loss, right, pairs])
    return Step(loss, right / pairs)
