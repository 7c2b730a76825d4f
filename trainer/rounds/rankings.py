"""Rankings of a round: split by question, and joined with those of the rounds before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..labelling.items import Item
from ..labelling.ranked_rows import ranked_rows
from ..labelling.ranking import Ranking
from .names import HELDOUT, LEARNT, RANKINGS
from .place import Round


def split_rankings(
    directory: Path, rankings: Sequence[Ranking], items: Sequence[Item], heldout_ratio: float
) -> tuple[int, int]:
    """Writes the rankings to train on and those that are kept from it; gives their numbers.

    By a hash of the question: all rankings of one question are on one side, in every round.
    """
    rows = ranked_rows(rankings, items)
    heldout = [is_held_out(row["question"], heldout_ratio) for row in rows]
    training = [row for row, out in zip(rows, heldout, strict=True) if not out]
    _write(directory / RANKINGS, training)
    _write(directory / HELDOUT, [row for row, out in zip(rows, heldout, strict=True) if out])
    return len(training), sum(heldout)


def is_held_out(question: object, ratio: float) -> bool:
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") < ratio * 2**64


def rankings_so_far(made: Round) -> Path:
    """One file with what the round's reward model learns, made of its own rankings and maybe all earlier ones."""
    path = made.directory / LEARNT
    path.write_text(
        "".join((one.directory / RANKINGS).read_text(encoding="utf-8") for one in learnt_rounds(made)),
        encoding="utf-8",
    )
    return path


def learnt_rounds(made: Round) -> list[Round]:
    return made.lineage() if made.record.settings.reward.rankings == "all" else [made]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
