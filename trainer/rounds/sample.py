"""`rewardplane round sample`: what is asked, of which policy, and which answers are ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..config import ConfigError
from ..conversation import Question
from ..data import BadData, RankedAnswers, read_prompts, read_ranked
from ..evaluation.scoring import score_with_model
from ..labelling.items import Item, read_items, write_items
from .candidates import Candidate, Candidates, sample_candidates
from .choice import by_disagreement, by_margin
from .config import SampleConfig
from .diverse import choose_answers
from .heads import head_scores
from .names import RANKINGS, SAMPLES
from .place import Round
from .rankings import learnt_rounds
from .record import Sampled, file_digest
from .servers import Serve

PROMPT_STREAM = 20

Rankable = tuple[Question, tuple[Candidate, ...]]
"""A question and the K answers to be ranked."""


def sample_round(made: Round, serve: Serve) -> Round:
    """Samples from the served policy of the round before, and writes items.jsonl.

    Goes on where it was interrupted; a round that is sampled stays as it is. Raises ConfigError, BadData.
    """
    if made.record.sampled is not None:
        return made
    settings = made.record.settings
    questions = pool_of(made)
    with serve("policy", made.sampled_policy()) as target:
        candidates = sample_candidates(target, questions, settings, made.record.policy_digest, made.directory / SAMPLES)
    rankable = _rankable(candidates, settings.sample)
    wanted = settings.sample.questions
    if len(rankable) < wanted:
        raise ConfigError(
            f"{len(rankable)} of {len(questions)} questions have {settings.sample.answers} different answers, and "
            f"sample.questions is {wanted}: start the round anew with more of sample.oversample or sample.pool"
        )
    chosen = [rankable[i] for i in _places(made, rankable)[:wanted]]
    path = write_items(made.directory, [_item(made, i, *one) for i, one in enumerate(chosen)])
    sampled = Sampled(
        policy_digest=made.record.policy_digest, questions=wanted, answers=settings.sample.answers,
        pool=len(questions), choice=settings.sample.choice, items_digest=file_digest(path),
    )  # fmt: skip
    return made.with_step(sampled=sampled)


def pool_of(made: Round) -> list[Question]:
    """The questions that are sampled for, in an order of the round's own; none that an earlier round asked.

    Raises BadData where there are too few.
    """
    settings = made.record.settings
    asked = {item.question for one in made.lineage()[:-1] for item in read_items(one.directory)}
    every = dict.fromkeys(question for question in read_prompts(settings.prompts) if question not in asked)
    count = math.ceil(settings.sample.questions * settings.sample.pool)
    if len(every) < count:
        raise BadData(
            f"{settings.prompts} has {len(every)} questions that were not asked before; sample.questions and "
            f"sample.pool want {count}"
        )
    order = np.random.default_rng([settings.seed, PROMPT_STREAM, made.record.number]).permutation(len(every))
    listed = list(every)
    return [listed[i] for i in order[:count]]


def _rankable(candidates: Sequence[Candidates], sample: SampleConfig) -> list[Rankable]:
    """Those with K different answers."""
    found = []
    for one in candidates:
        answers = choose_answers(one.answers, sample.answers, match_lengths=sample.match_lengths)
        found += [(one.question, answers)] if answers else []
    return found


def _places(made: Round, rankable: Sequence[Rankable]) -> Sequence[int]:
    """In the order in which they are to be asked."""
    sample = made.record.settings.sample
    model = made.last_reward()
    if sample.choice == "random" or model is None:  # `start` refuses a first round with another choice
        return range(len(rankable))
    rows = [RankedAnswers(question, tuple(one.text for one in own), (None,) * len(own)) for question, own in rankable]
    if sample.choice == "margin":
        return by_margin(score_with_model(model, rows, iter).scores)
    assert made.parent is not None
    learnt = [row for one in learnt_rounds(made.parent) for row in read_ranked(one.directory / RANKINGS)]
    return by_disagreement(head_scores(model, learnt, rows, sample.heads, made.record.settings.seed))


def _item(made: Round, place: int, question: Question, answers: Sequence[Candidate]) -> Item:
    source = {
        "round": made.record.number,
        "policy": made.record.policy_digest,
        "temperatures": [one.temperature for one in answers],
    }
    return Item(f"{made.record.number}-{place:05d}", question, tuple(one.text for one in answers), source)
