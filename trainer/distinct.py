"""How much answers repeat."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise


def distinct_bigrams_ratio(answers: Iterable[Sequence[Hashable]]) -> float:
    """Different bigrams over all bigrams, both counted across all answers; no bigram spans two answers.

    |set of (t_i, t_{i+1})| / sum over answers of max(A - 1, 0); 0 if no answer has two tokens. Li et al.
    (arXiv:1510.03055, distinct-2) divide by tokens instead, which short answers lower. The ratio falls with
    the number of answers: compare only equally many. Elements may be words or token ids.
    """
    bigrams = [pair for answer in answers for pair in pairwise(answer)]
    return len(set(bigrams)) / len(bigrams) if bigrams else 0.0
