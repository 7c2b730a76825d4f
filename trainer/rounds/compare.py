"""`rewardplane round compare`: two rounds on held-out prompts, and their reward models on held-out rankings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardplane import Client
from rewardplane.modeling.checkpoint import read_manifest

from ..config import ConfigError
from ..conversation import Question
from ..data import read_prompts
from ..demo.answers import Answered, ask
from ..demo.judge import words
from ..distinct import distinct_bigrams_ratio
from ..intervals import estimate
from ..ppo.mirror import CHECKPOINTS
from ..ppo.publish import checkpoint_name
from ..progress import read_metrics
from .comparison import Comparison, Side
from .lexicon_ranker import lexicon_scores
from .names import COMPARISON, HELDOUT, POLICY_RUN
from .place import Round
from .record import Measured
from .servers import TIMEOUT_S, Serve
from .train import accuracy

LEXICON, REWARD = "lexicon", "reward"
SEED = 1
"""Of the sampling, of both policies."""
FAR_RATIO = 0.75
"""Policies near the reference are alike, and would be of equal KL first of all."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Checkpoint:
    """A published policy of a round."""

    path: Path
    updates: int
    kl_nats: float
    """As its run measured it."""


def compare_rounds(
    first: Round, second: Round, serve: Serve, *, judge: str = LEXICON, equal_kl: bool = False, answers: int = 4
) -> Comparison:
    """Samples `answers` to each prompt from both; writes comparison.json into the second round.

    Raises ConfigError, RewardplaneError.
    """
    if judge not in (LEXICON, REWARD):
        raise ConfigError(f"--judge {judge}: {LEXICON} or {REWARD} is wanted")
    if first.record.sft_digest != second.record.sft_digest:
        raise ConfigError(f"{first.place} and {second.place} have other references: their KL cannot be compared")
    reward = second.trained_reward()
    own, others = published(first), published(second)
    chosen = nearest_kl(own, others) if equal_kl else (own[-1], others[-1])
    questions = read_prompts(second.record.settings.heldout_prompts)
    tokens = second.record.settings.max_answer_tokens
    with (
        serve("reward", reward) as reward_at,
        serve("reference", second.sft()) as reference_at,
        Client(reward_at, timeout_s=TIMEOUT_S) as scoring,
        Client(reference_at, timeout_s=TIMEOUT_S) as reference,
    ):
        answered = []
        for one in chosen:
            with serve("policy", one.path) as policy_at, Client(policy_at, timeout_s=TIMEOUT_S) as policy:
                answered.append(ask(policy, scoring, reference, questions, answers, SEED, tokens))
    judged = [_judged(judge, questions, one) for one in answered]
    wins = (1.0 + np.sign(judged[1] - judged[0])) / 2.0  # [Q, n]
    found = Comparison(
        judge="the VADER lexicon, without noise; simulated" if judge == LEXICON else f"RM {second.record.number}",
        prompts=len(questions),
        answers_a_prompt=answers,
        first=_side(first, chosen[0], answered[0], judged[0]),
        second=_side(second, chosen[1], answered[1], judged[1]),
        win_rate=_over_questions(wins),
        reward_accuracy=_reward_accuracy(first, second),
    )
    (second.directory / COMPARISON).write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    second.copy_to_url()
    return found


def published(made: Round) -> list[Checkpoint]:
    """Those whose KL was measured, oldest first."""
    made.trained_policy()
    run = made.directory / POLICY_RUN
    name = f"policy-round{made.record.number}"
    found = [
        Checkpoint(run / CHECKPOINTS / checkpoint_name(name, int(row["update"] or 0)), int(row["update"] or 0), kl)
        for row in read_metrics(run)
        if (kl := row.get("eval_kl_nats")) is not None
    ]
    return [one for one in found if one.path.exists()]


def nearest_kl(own: Sequence[Checkpoint], others: Sequence[Checkpoint]) -> tuple[Checkpoint, Checkpoint]:
    """The two whose KL differs least, of all that went at least FAR_RATIO as far as both runs went."""
    limit = min(max(one.kl_nats for one in side) for side in (own, others))
    far = [[one for one in side if one.kl_nats >= FAR_RATIO * limit] for side in (own, others)]
    return min(product(far[0], far[1]), key=lambda pair: abs(pair[0].kl_nats - pair[1].kl_nats))


def _judged(judge: str, questions: Sequence[Question], answered: Answered) -> Floats:  # [Q, n]
    if judge == REWARD:
        return answered.scores.astype(np.float64)
    rows = zip(questions, answered.answers, strict=True)
    return np.stack([lexicon_scores(question, [answer.text for answer in own]) for question, own in rows])


def _side(made: Round, checkpoint: Checkpoint, answered: Answered, judged: Floats) -> Side:
    texts = [answer.text for own in answered.answers for answer in own]
    return Side(
        round=made.record.number,
        updates=checkpoint.updates,
        digest=read_manifest(checkpoint.path).digest,
        kl_nats=_over_questions(answered.log_ratios),
        judge=_over_questions(judged),
        score=float(answered.scores.mean()),
        distinct_bigrams_ratio=distinct_bigrams_ratio([words(text) for text in texts]),
    )


def _over_questions(values: Floats) -> Measured:  # [Q, n]
    found = Measured.of(estimate(values.sum(axis=1), np.full(len(values), values.shape[1])))
    assert found is not None  # there is a prompt
    return found


def _reward_accuracy(first: Round, second: Round) -> dict[str, dict[str, Measured | None]]:
    models = {f"RM {one.record.number}": one.trained_reward() for one in (first, second)}
    return {
        f"held-out rankings {one.record.number}": {
            name: accuracy(model, one.directory / HELDOUT) for name, model in models.items()
        }
        for one in (first, second)
    }
