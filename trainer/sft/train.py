"""Supervised fine-tuning on packed rows: maximise the mean log-prob of answer tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewardplane.modeling.checkpoint import Manifest, save_checkpoint
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import load_causal_model, packed_logprobs
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

from ..batches import by_tokens, shuffled, turns
from ..data import Demonstration, read_demonstrations, to_pair
from ..lora import adapt
from ..metrics.exporter import RunMetrics
from ..models import check_model_directory, check_signed, new_checkpoint_directory, turn_dropout_off
from ..optim import Optimizer
from ..precision import Precision, autocast
from ..processes import ALONE, Processes
from ..progress import RunLog, pace
from ..recompute import recompute_layers
from ..run_record import write_record
from ..sharding import Trained
from ..states import RunStates
from ..truncation import fit
from .config import SftConfig
from .from_scratch import new_model, train_tokenizer


@dataclass(frozen=True)
class SftResult:
    checkpoint: Path
    manifest: Manifest
    heldout_loss: float | None
    """Nats a token, on the held-out file if there is one."""


@dataclass(frozen=True)
class _Start:
    """The model that training begins with."""

    model: Any
    encoder: PairEncoder
    max_pair_tokens: int


def run_sft(config: SftConfig, processes: Processes = ALONE) -> SftResult:
    """Trains, measures and saves; goes on where it was interrupted. All of `processes` must run it.

    Raises ConfigError, BadData or BadCheckpoint before training starts.
    """
    directory = new_checkpoint_directory(config.output)
    if config.model is not None:
        check_model_directory("model.path", config.model.path)
        check_signed(config.trusted_keys, model_path=config.model.path)
    demonstrations = read_demonstrations(config.data.train)
    heldout = read_demonstrations(config.data.heldout) if config.data.heldout else []
    start = _start(config, demonstrations, processes)
    pairs = encode_demonstrations(demonstrations, start.encoder, start.max_pair_tokens)
    heldout_pairs = encode_demonstrations(heldout, start.encoder, start.max_pair_tokens)
    batches = [batch for epoch in range(config.epochs) for batch in epoch_batches(pairs, config, epoch)]
    states = RunStates(config.output, config.save_every, config.numbers_digest())
    adapt(start.model, config.lora, seed=config.seed)
    if config.gradient_checkpointing:
        recompute_layers(start.model)
    trained = Trained(start.model, processes)
    if processes.first:
        write_record(config.output, "sft", len(batches), config)
    device = str(start.model.device)
    with RunMetrics(config.metrics, "sft", updates=len(batches), device=device) as metrics:
        metrics.watch(states.written)
        heldout_loss = _train(config, trained, batches, heldout_pairs, states, metrics)
        model = trained.finished()

        def save() -> Manifest:
            return save_checkpoint(
                directory, model, start.encoder.tokenizer,
                tokenizer_fingerprint=start.encoder.fingerprint, model_name=config.name, kind="sft",
            )  # fmt: skip

        with states.written.timed("publish"):
            manifest = processes.from_first(save)
        if processes.first:
            states.remove()
    return SftResult(directory, manifest, heldout_loss)


def _train(
    config: SftConfig,
    trained: Trained,
    batches: Sequence[Sequence[TokenPair]],
    heldout: Sequence[TokenPair],
    states: RunStates,
    run_metrics: RunMetrics,
) -> float | None:
    """Gives the held-out loss, if there is something held out."""
    optimizer = Optimizer([trained], config.optimizer, total_updates=len(batches))
    done = states.resume(trained, optimizer)
    metrics: dict[str, float] = {}
    resumed = done - 1 if done else None
    with RunLog(
        config.output, len(batches), "sft",
        resumed_update=resumed, metrics=run_metrics, silent=not trained.processes.first,
    ) as log:  # fmt: skip
        for update, batch in enumerate(batches[done:], done):
            began = time.monotonic()
            loss = accumulate(trained, batch, config.micro_batch_tokens, config.precision)
            metrics = {"loss": loss, "learning_rate": optimizer.learning_rate(update)}
            metrics["grad_norm"] = optimizer.step(update)
            metrics |= pace(sum(map(num_tokens, batch)), time.monotonic() - began)
            if update + 1 == len(batches) and heldout:
                metrics["heldout_loss"] = mean_loss(trained, heldout, config.micro_batch_tokens)
            log.write(update, metrics, show=["loss", "heldout_loss", "tokens_per_s"])
            if update + 1 < len(batches):
                states.save_when_due(trained, optimizer, update + 1)
    return metrics.get("heldout_loss")


def encode_demonstrations(
    demonstrations: Sequence[Demonstration], encoder: PairEncoder, max_pair_tokens: int
) -> list[TokenPair]:
    """Token pairs of at most `max_pair_tokens`; see `fit` for what longer ones lose."""
    start = encoder.start_token_id
    encoded = (encoder.encode(to_pair(d.question, d.answer)) for d in demonstrations)
    return [fit(pair, max_pair_tokens, start) for pair in encoded]


def epoch_batches(pairs: Sequence[TokenPair], config: SftConfig, epoch: int) -> list[list[TokenPair]]:
    """The optimizer batches of one epoch."""
    costs = [num_tokens(pair) for pair in pairs]
    order = shuffled(len(pairs), config.seed, epoch)
    return [[pairs[i] for i in batch] for batch in by_tokens(order, costs, config.batch_tokens)]


def accumulate(trained: Trained, batch: Sequence[TokenPair], micro_batch_tokens: int, precision: Precision) -> float:
    """Adds the gradient of the batch's mean loss to the parameters; gives that loss, in nats a token.

    Every micro-batch is divided by the answer tokens of the whole batch, so the cut into micro-batches and processes
    changes only rounding.
    """
    processes, device = trained.processes, trained.model.device
    count = sum(len(pair.answer_ids) for pair in batch)
    total = 0.0
    costs = [num_tokens(pair) for pair in batch]
    for turn in turns(range(len(batch)), costs, micro_batch_tokens, processes.count)[processes.rank]:
        packed = pack([batch[i] for i in turn.rows]).to(device)
        with autocast(precision, device):
            loss = turn.weight * -trained(packed_logprobs, packed).sum() / count
        loss.backward()
        total += loss.item()
    return processes.sums([total])[0]


@torch.no_grad()  # not inference_mode: shards that are gathered in it cannot be trained afterwards
def mean_loss(trained: Trained, pairs: Sequence[TokenPair], micro_batch_tokens: int) -> float:
    """Nats a token over all answer tokens, in float32."""
    processes, device = trained.processes, trained.model.device
    total = 0.0
    costs = [num_tokens(pair) for pair in pairs]
    for turn in turns(range(len(pairs)), costs, micro_batch_tokens, processes.count)[processes.rank]:
        packed = pack([pairs[i] for i in turn.rows]).to(device)
        total -= turn.weight * trained(packed_logprobs, packed).sum().item()
    return processes.sums([total])[0] / sum(len(pair.answer_ids) for pair in pairs)


def num_tokens(pair: TokenPair) -> int:
    return len(pair.question_ids) + len(pair.answer_ids)


def _start(config: SftConfig, demonstrations: Sequence[Demonstration], processes: Processes) -> _Start:
    device = processes.loading_device(config.device)
    if config.model is not None:
        loaded = load_causal_model(config.model.path, torch.float32, str(device))
        turn_dropout_off(loaded.model)
        if config.model.drop_chat_template:
            loaded.encoder.tokenizer.chat_template = None
        return _Start(loaded.model, loaded.encoder, loaded.max_pair_tokens)
    assert config.from_scratch is not None  # SftConfig checked it
    texts = [text for d in demonstrations for text in (_question_text(d), d.answer) if text]
    tokenizer = train_tokenizer(texts, config.from_scratch.vocabulary_size)
    model = new_model(config.from_scratch, tokenizer, config.seed).to(device)
    encoder = PairEncoder(tokenizer, [tokenizer.eos_token_id], model.config.vocab_size)
    return _Start(model, encoder, config.from_scratch.max_pair_tokens)


def _question_text(demonstration: Demonstration) -> str:
    question = demonstration.question
    return question if isinstance(question, str) else "\n".join(message.content for message in question)
