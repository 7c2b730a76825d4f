"""Which of the sampled answers to a question are ranked: different ones, from all temperatures, alike in length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from .candidates import Candidate


def choose_answers(
    candidates: Sequence[Candidate], k: int, *, match_lengths: bool = False
) -> tuple[Candidate, ...] | None:
    """K different answers with words in them; None where there are fewer.

    One of each temperature in turn. With `match_lengths` instead those K whose longest has the fewest characters
    for each of the shortest.
    """
    first: dict[str, Candidate] = {}
    for one in candidates:
        if has_words(one.text):
            first.setdefault(same_text_key(one.text), one)
    different = list(first.values())
    if len(different) < k:
        return None
    if match_lengths:
        return _alike_in_length(different, k)
    by_temperature: dict[float, list[Candidate]] = {}
    for one in different:
        by_temperature.setdefault(one.temperature, []).append(one)
    turns = zip_longest(*by_temperature.values())
    return tuple([one for turn in turns for one in turn if one is not None][:k])


def has_words(text: str) -> bool:
    return re.search(r"\w", text) is not None


def same_text_key(text: str) -> str:
    """Equal for texts that differ in case, blanks and punctuation alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _alike_in_length(different: Sequence[Candidate], k: int) -> tuple[Candidate, ...]:
    by_length = sorted(different, key=lambda one: len(one.text))
    windows = [by_length[i : i + k] for i in range(len(by_length) - k + 1)]
    closest = min(windows, key=lambda window: len(window[-1].text) / len(window[0].text))
    return tuple(closest)
