"""Scores of ranked answers, from a model directory or from a running server: the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoTokenizer

from rewardplane import Client
from rewardplane.errors import InvalidRequest
from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.joined import JoinedPairEncoder
from rewardplane.modeling.models import load_reward_model
from rewardplane.modeling.padded import is_encoder
from rewardplane.results import ModelInfo, ScoreKind
from rewardplane.wire import Pair

from ..batches import by_count
from ..data import BadData, RankedAnswers, to_pair
from ..judges import JudgeMisfit
from ..models import check_model_directory, choose_device
from ..reward.evaluate import group_scores
from ..reward.groups import Group, Losses, encode_groups
from ..sharding import Trained

Floats = NDArray[np.float32]
T = TypeVar("T")
Progress = Callable[[Iterable[T]], Iterable[T]]
"""Shows how far the chunks have come."""

CHUNK_QUESTIONS = 32
"""Questions scored between two steps of the progress bar, and in one call to a server."""


@dataclass(frozen=True)
class Scored:
    """Ranked answers with their scores, in the order of the file."""

    rows: tuple[RankedAnswers, ...]  # without the answers that were left out
    scores: tuple[Floats, ...]  # [K] each, reward_offset subtracted
    model_name: str
    checkpoint_digest: str
    losses: Losses
    """What the length limit cost."""


def score_with_model(
    directory: Path,
    rows: Sequence[RankedAnswers],
    progress: Progress[Sequence[int]],
    *,
    device: str = "auto",
    micro_batch_tokens: int = 4096,
) -> Scored:
    """Loads a reward model in float32. Raises ConfigError, BadCheckpoint or UnencodablePair."""
    check_model_directory("--model", directory)
    loaded = load_reward_model(directory, torch.float32, str(choose_device(device)))
    shared = not is_encoder(loaded.model.config)
    groups, losses = encode_groups(rows, loaded.encoder, loaded.max_pair_tokens, shared=shared)
    trained = Trained(loaded.model)
    raw: list[Floats] = []
    for chunk in progress(list(by_count(range(len(groups)), CHUNK_QUESTIONS))):
        raw += group_scores(trained, [groups[i] for i in chunk], micro_batch_tokens)
    if not all(np.isfinite(own).all() for own in raw):
        raise BadCheckpoint(f"{directory} gives scores that are not finite: NaN in its weights?")
    scores = tuple(own - np.float32(loaded.reward_offset) for own in raw)
    kept = _without_dropped(rows, groups, loaded.encoder)
    return Scored(kept, scores, loaded.manifest.model_name, loaded.manifest.digest, losses)


def score_with_server(
    target: str,
    rows: Sequence[RankedAnswers],
    progress: Progress[Sequence[int]],
    *,
    tokenizer: Path | None = None,
    timeout_s: float = 300.0,
) -> Scored:
    """Sends texts, or with the served model's `tokenizer` token ids, cut to the server's limit as in training.

    Raises RewardplaneError, JudgeMisfit for a server that cannot be used, and BadData for pairs that it refuses:
    most are longer than its limit.
    """
    with Client(target, timeout_s=timeout_s) as client:
        info = client.info()
        if info.score_kind is ScoreKind.NONE:
            raise JudgeMisfit(f"the server at {target} does not score: is it the reference?")
        losses, kept = Losses(0, 0), tuple(rows)
        pairs: list[tuple[Pair, ...]] = [tuple(to_pair(row.question, a) for a in row.answers) for row in rows]
        if tokenizer is not None:
            encoder, shared = _encoder(tokenizer, info, target)
            groups, losses = encode_groups(rows, encoder, info.max_pair_tokens, shared=shared)
            pairs, kept = [group.pairs for group in groups], _without_dropped(rows, groups, encoder)
        scores: list[Floats] = []
        for chunk in progress(list(by_count(range(len(rows)), CHUNK_QUESTIONS))):
            scores += _ask(client, [pairs[i] for i in chunk], [kept[i] for i in chunk], info)
    return Scored(kept, tuple(scores), info.model_version.model_name, info.model_version.checkpoint_digest, losses)


def _ask(
    client: Client, pairs: Sequence[Sequence[Pair]], rows: Sequence[RankedAnswers], info: ModelInfo
) -> list[Floats]:
    flat = [pair for own in pairs for pair in own]
    try:
        # Pinned, so that a swap of the weights cannot mix two models in one measurement.
        reply = client.score(flat, expected_checkpoint_digest=info.model_version.checkpoint_digest)
    except InvalidRequest as error:
        if not error.bad_pairs:
            raise
        owners = [(row, i) for row, own in zip(rows, pairs, strict=True) for i in range(len(own))]
        told = [f"{owners[i][0].place}: answers[{owners[i][1]}] {what}" for i, what in error.bad_pairs]
        raise BadData(
            "\n".join([*told, "--tokenizer DIR, the served model's, cuts questions as training does"])
        ) from error
    ends = np.cumsum([len(own) for own in pairs])
    return np.split(reply.values, ends[:-1])


def _encoder(directory: Path, info: ModelInfo, target: str) -> tuple[PairEncoder, bool]:
    """The served model's encoder, and whether answers share their question's tokens."""
    check_model_directory("--tokenizer", directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    joins = is_encoder(AutoConfig.from_pretrained(directory))
    encoder = (
        JoinedPairEncoder(tokenizer, info.vocabulary_size)
        if joins
        else PairEncoder(tokenizer, info.stop_token_ids, info.vocabulary_size)
    )
    if encoder.fingerprint != info.tokenizer_fingerprint:
        raise JudgeMisfit(
            f"--tokenizer {directory} is {encoder.fingerprint[:12]}, "
            f"and the server at {target} has {info.tokenizer_fingerprint[:12]}"
        )
    return encoder, not joins


def _without_dropped(
    rows: Sequence[RankedAnswers], groups: Sequence[Group], encoder: PairEncoder
) -> tuple[RankedAnswers, ...]:
    """The rows as their groups hold them: `encode_groups` drops the longest answers where no cut makes room."""
    kept = []
    for row, group in zip(rows, groups, strict=True):
        if len(group.pairs) < len(row.answers):
            lengths = [len(encoder.encode(to_pair(row.question, answer)).answer_ids) for answer in row.answers]
            longest = max((len(pair.answer_ids) for pair in group.pairs), default=0)
            places = [i for i, length in enumerate(lengths) if length <= longest]
            row = replace(row, answers=tuple(row.answers[i] for i in places), ranks=group.ranks)
        kept.append(row)
    return tuple(kept)
