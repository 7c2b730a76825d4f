"""What the trainers read: demonstrations, ranked answers, prompts and texts.

A file is JSON Lines or a JSON list (also gzipped), Parquet, or a directory that `datasets` saved. It is read and
checked whole before anything uses it, so that a bad line stops a run before it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardplane.wire import ChatPair, Pair, TextPair

from .conversation import Question as Question
from .conversation import question_of
from .jsonl import BadData as BadData
from .jsonl import Row, field, filled_text
from .rankings.ranked import Rank as Rank
from .rankings.ranked import RankedAnswers as RankedAnswers
from .rankings.rows import rankings_of
from .row_files import read_placed, read_rows


@dataclass(frozen=True)
class Demonstration:
    """A question and the answer to imitate."""

    question: Question
    answer: str


def read_demonstrations(path: Path | str) -> list[Demonstration]:
    """Reads {"question": text or messages, "answer": text}. Raises BadData."""
    return read_rows(path, _demonstration)


def read_ranked(path: Path | str, skipped: list[str] | None = None) -> list[RankedAnswers]:
    """Reads rankings in any of these forms, which a file may mix. Raises BadData.

    {"question", "answers": [...], "ranks": [0 is best, null is unknown]}
    {"question", "answers": [...], "ratings": [higher is better, null is unknown]}
    {"question", "chosen", "rejected"}; without a question, chosen and rejected are conversations
    Open Assistant's message trees; Label Studio's JSON export of Ranker and Pairwise tasks; Argilla's records

    Where a list `skipped` is given, it gets the complaints about bad rows, and these are left out.
    """
    placed = read_placed(path, rankings_of, skipped)
    rankings = [replace(ranking, place=place) for place, several in placed for ranking in several]
    if not rankings:
        raise BadData(f"{path} holds {len(placed)} rows and no ranking of two or more answers")
    return rankings


def of_split(rows: Sequence[RankedAnswers], split: str | None, path: Path | str) -> list[RankedAnswers]:
    """The rows of one split; all of them for None. Raises BadData where there are none."""
    kept = [row for row in rows if split is None or row.split == split]
    if not kept:
        names = ", ".join(sorted({row.split for row in rows if row.split})) or "none"
        raise BadData(f"{path} has no row of split {split}; its splits are {names}")
    return kept


def read_prompts(path: Path | str) -> list[Question]:
    """Reads {"question": text or messages}. Raises BadData."""
    return read_rows(path, question_of)


def read_texts(path: Path | str) -> list[str]:
    """Reads {"text": text}. Raises BadData."""
    return read_rows(path, lambda row: filled_text(field(row, "text"), "text"))


def to_pair(question: Question, answer: str) -> Pair:
    return TextPair(question, answer) if isinstance(question, str) else ChatPair(question, answer)


def _demonstration(row: Row) -> Demonstration:
    return Demonstration(question_of(row), filled_text(field(row, "answer"), "answer"))
