"""Texts that occur more than once: within a question, within a file, and in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..conversation import Question
from ..rankings.ranked import RankedAnswers, ordered_pairs

EXAMPLES = 3


@dataclass(frozen=True)
class Found:
    """Rows with a property."""

    count: int
    places: tuple[str, ...]  # of the first ones


@dataclass(frozen=True)
class Repeats:
    questions: Found
    """Rows whose question an earlier row has, too."""
    rows: Found
    """Rows whose question and answers an earlier row has, too."""
    answers: Found
    """Rows that hold one answer twice."""
    contradictions: Found
    """Rows that hold one answer twice, with different ranks."""
    opposed: Found
    """Rows that put two answers in another order than an earlier row with the same question."""


@dataclass(frozen=True)
class Leak:
    """Rows of one split whose texts another split has, too; without regard to case and white space."""

    seen: str
    """The split that is trained on."""
    heldout: str
    rows: int
    """Of `heldout`."""
    questions: Found
    pairs: Found
    """A question with one of its answers."""
    answers: Found
    """An answer, to whatever question."""


def repeats(rows: Sequence[RankedAnswers]) -> Repeats:
    """Compares texts as they are."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    questions: set[Question] = set()
    wholes: set[tuple[Question, tuple[str, ...]]] = set()
    orders: set[tuple[Question, str, str]] = set()
    for row in rows:
        whole = (row.question, tuple(sorted(row.answers)))
        order = {(row.question, row.answers[b], row.answers[w]) for b, w in ordered_pairs(row.ranks)}
        hits = {
            "questions": row.question in questions,
            "rows": whole in wholes,
            "answers": len(set(row.answers)) < len(row.answers),
            "contradictions": any(better == worse for _, better, worse in order),
            "opposed": any(
                better != worse and (question, worse, better) in orders for question, better, worse in order
            ),
        }
        for name in (name for name, hit in hits.items() if hit):
            found[name].append(row.place)
        questions.add(row.question)
        wholes.add(whole)
        orders |= order
    return Repeats(**{name: _found(found[name]) for name in Repeats.__dataclass_fields__})


def leak(seen_name: str, seen: Sequence[RankedAnswers], heldout_name: str, heldout: Sequence[RankedAnswers]) -> Leak:
    questions, pairs, answers = set(), set(), set()
    for row in seen:
        question, own = _plain(row)
        questions.add(question)
        pairs |= {(question, answer) for answer in own}
        answers |= own
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for row in heldout:
        question, own = _plain(row)
        hits = (question in questions, any((question, answer) in pairs for answer in own), bool(own & answers))
        for places, hit in zip(found, hits, strict=True):
            places += [row.place] if hit else []
    return Leak(seen_name, heldout_name, len(heldout), *map(_found, found))


def _plain(row: RankedAnswers) -> tuple[str, set[str]]:
    return "\0".join(_question_texts(row.question)), {_plain_text(answer) for answer in row.answers}


def _question_texts(question: Question) -> Iterator[str]:
    if isinstance(question, str):
        yield _plain_text(question)
    else:
        for message in question:
            yield f"{message.role}: {_plain_text(message.content)}"


def _plain_text(text: str) -> str:
    return " ".join(text.split()).casefold()


def _found(places: Sequence[str]) -> Found:
    return Found(len(places), tuple(places[:EXAMPLES]))
