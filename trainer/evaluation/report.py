"""Everything that is measured on a file of rankings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from ..intervals import Estimate
from ..jsonl import BadData
from ..rankings.ranked import RankedAnswers
from ..reward.loss import kwise_loss
from .calibration import Calibration, calibrate
from .pairs import Pairs, pair_table
from .ranking import mean_tau_b, top_1, top_1_chance
from .scoring import Floats, Scored

LENGTH_EDGES = (1.0, 1.25, 1.5, 2.0, 4.0, float("inf"))
"""How many times as long the longer answer of a pair is."""

HISTOGRAM_BINS = 30


@dataclass(frozen=True)
class Part:
    """Some of the pairs."""

    name: str
    accuracy: Estimate
    length_baseline: Estimate


@dataclass(frozen=True)
class LengthPart:
    """Pairs by how many times as long the longer answer is."""

    low: float
    high: float | None
    """None has no end."""
    accuracy: Estimate
    length_baseline: Estimate
    better_longer: Estimate | None
    """Accuracy on the pairs whose better answer is the longer one."""
    better_shorter: Estimate | None


@dataclass(frozen=True)
class ScoreHistogram:
    edges: tuple[float, ...]  # n + 1
    best: tuple[int, ...]  # n  answers of the best rank of their question
    others: tuple[int, ...]  # n


@dataclass(frozen=True)
class RewardReport:
    """Accuracy is the share of pairs in people's order; its intervals resample questions."""

    files: tuple[str, ...]
    scored_by: str
    model_name: str
    checkpoint_digest: str
    questions: int
    answers: int
    questions_without_pair: int
    cut_questions: int
    dropped_answers: int
    accuracy: Estimate
    length_baseline: Estimate
    """Of a model that takes the number of characters for its score."""
    shuffled_control: Estimate
    """Of these scores against ranks that were dealt out at random: 0.5 within its interval."""
    top_1: Estimate
    top_1_chance: float
    kendall_tau_b: Estimate
    loss: float
    """What training minimises, in nats; ln 2 = 0.693 for equal scores."""
    mean_score: float
    score_std: float
    by_k: tuple[Part, ...]
    by_source: tuple[Part, ...]
    by_length: tuple[LengthPart, ...]
    calibration: Calibration
    histogram: ScoreHistogram


def measure(scored: Scored, files: Sequence[str], scored_by: str, seed: int = 0) -> RewardReport:
    """Raises BadData where no question has two answers with different ranks."""
    rows, scores = scored.rows, scored.scores
    pairs, ranks = pair_table(rows, scores), [row.ranks for row in rows]
    accuracy, baseline = pairs.accuracy(), pairs.length_baseline()
    tau, top = mean_tau_b(scores, ranks), top_1(scores, ranks)
    if accuracy is None or baseline is None or tau is None or top is None:
        raise BadData(f"{', '.join(files)}: no question has two answers with different ranks")
    loss, compared = kwise_loss(torch.from_numpy(np.concatenate(scores)).double(), ranks)
    every = np.concatenate(scores).astype(np.float64)
    return RewardReport(
        files=tuple(files), scored_by=scored_by,
        model_name=scored.model_name, checkpoint_digest=scored.checkpoint_digest,
        questions=len(rows), answers=len(every), questions_without_pair=len(rows) - compared,
        cut_questions=scored.losses.cut_questions, dropped_answers=scored.losses.dropped_answers,
        accuracy=accuracy, length_baseline=baseline, shuffled_control=_shuffled(rows, scores, seed),
        top_1=top, top_1_chance=top_1_chance(scores, ranks), kendall_tau_b=tau,
        loss=float(loss), mean_score=float(every.mean()), score_std=float(every.std()),
        by_k=_parts(pairs, rows, lambda row: str(len(row.answers))),
        by_source=_parts(pairs, rows, lambda row: row.source) if any(row.source for row in rows) else (),
        by_length=_by_length(pairs),
        calibration=calibrate(pairs.margin), histogram=_histogram(rows, scores),
    )  # fmt: skip


def _shuffled(rows: Sequence[RankedAnswers], scores: Sequence[Floats], seed: int) -> Estimate:
    rng = np.random.default_rng(seed)
    dealt = [replace(row, ranks=tuple(row.ranks[i] for i in rng.permutation(len(row.ranks)))) for row in rows]
    control = pair_table(dealt, scores).accuracy()
    assert control is not None  # ranks that differ still differ
    return control


def _parts(pairs: Pairs, rows: Sequence[RankedAnswers], name: Callable[[RankedAnswers], str]) -> tuple[Part, ...]:
    names = np.array([name(row) for row in rows])
    parts = []
    for one in sorted(set(names), key=lambda one: (len(one), one) if one.isdigit() else (0, one)):
        chosen: NDArray[np.bool_] = names[pairs.question] == one
        accuracy, baseline = pairs.accuracy(chosen), pairs.length_baseline(chosen)
        if accuracy and baseline:
            parts.append(Part(str(one), accuracy, baseline))
    return tuple(parts)


def _by_length(pairs: Pairs) -> tuple[LengthPart, ...]:
    parts = []
    for low, high in pairwise(LENGTH_EDGES):
        chosen = (pairs.length_ratio >= low) & (pairs.length_ratio < high)
        accuracy, baseline = pairs.accuracy(chosen), pairs.length_baseline(chosen)
        if accuracy and baseline:
            longer, shorter = (pairs.accuracy(chosen & (np.sign(pairs.longer) == sign)) for sign in (1, -1))
            end = None if np.isinf(high) else high
            parts.append(LengthPart(low, end, accuracy, baseline, longer, shorter))
    return tuple(parts)


def _histogram(rows: Sequence[RankedAnswers], scores: Sequence[Floats]) -> ScoreHistogram:
    every = np.concatenate(scores)
    is_best = np.concatenate([_is_best(row) for row in rows])
    edges = np.histogram_bin_edges(every, HISTOGRAM_BINS)
    best, others = (np.histogram(every[chosen], edges)[0].tolist() for chosen in (is_best, ~is_best))
    return ScoreHistogram(tuple(edges.astype(float).tolist()), tuple(best), tuple(others))


def _is_best(row: RankedAnswers) -> NDArray[np.bool_]:
    best = min((rank for rank in row.ranks if rank is not None), default=None)
    return np.array([rank is not None and rank == best for rank in row.ranks], np.bool_)
