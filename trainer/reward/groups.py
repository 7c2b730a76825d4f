"""Ranked answers as token ids: one group holds a question and all of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.packing import packed_length
from rewardplane.modeling.padded import num_tokens
from rewardplane.wire import TokenPair

from ..data import Rank, RankedAnswers, to_pair
from ..truncation import SHORTEST_QUESTION, cut_question
from .loss import ordered_pairs


@dataclass(frozen=True)
class Group:
    """The answers to one question."""

    pairs: tuple[TokenPair, ...]  # K  all with the same question ids
    ranks: tuple[Rank, ...]  # K
    num_tokens: int  # of the packed tree: the question once; for an encoder, once an answer

    @property
    def has_pair(self) -> bool:
        """False where nothing can be learnt: all answers tie, or fewer than two are ranked."""
        return next(ordered_pairs(self.ranks), None) is not None


@dataclass(frozen=True)
class Losses:
    """What the length limit cost a file."""

    cut_questions: int
    dropped_answers: int


def encode_groups(
    ranked: Sequence[RankedAnswers], encoder: PairEncoder, max_pair_tokens: int, *, shared: bool = True
) -> tuple[list[Group], Losses]:
    """Encodes every question with its answers; groups keep their places. `shared`: answers share their question.

    A question that is too long is cut at its beginning, by as much as its longest answer asks for, so that
    the answers still share it. An answer that no cut makes room for is dropped: a score is read at an
    answer's end.
    """
    groups = []
    cut_questions = dropped_answers = 0
    for row in ranked:
        pairs = [encoder.encode(to_pair(row.question, answer)) for answer in row.answers]
        question = pairs[0].question_ids
        room = max_pair_tokens - min(len(question), SHORTEST_QUESTION)
        kept = [i for i, pair in enumerate(pairs) if len(pair.answer_ids) <= room]
        longest = max((len(pairs[i].answer_ids) for i in kept), default=0)
        short = cut_question(question, max_pair_tokens - longest, encoder.start_token_id)
        fitted = tuple(TokenPair(short, pairs[i].answer_ids) for i in kept)
        cost = packed_length(fitted) if shared and fitted else sum(map(num_tokens, fitted))
        groups.append(Group(fitted, tuple(row.ranks[i] for i in kept), cost))
        cut_questions += len(short) < len(question)
        dropped_answers += len(pairs) - len(kept)
    return groups, Losses(cut_questions, dropped_answers)


def shuffle_ranks(groups: Sequence[Group], seed: int) -> list[Group]:
    """Deals the ranks of each question out to its answers at random."""
    rng = np.random.default_rng(seed)
    return [replace(g, ranks=tuple(g.ranks[i] for i in rng.permutation(len(g.ranks)))) for g in groups]
