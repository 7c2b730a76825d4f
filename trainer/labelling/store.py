"""Who ranks which item, and what they said: `labels.sqlite`, which outlives a lost browser, server or machine."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ..jsonl import BadData
from ..rankings.ranked import Rank
from .items import Item
from .ranking import Assignment, Flags, Ranking, checked_flags, checked_ranks
from .schema import connect, transaction

STORE = "labels.sqlite"
HELD_S = 3600.0
"""An item that was begun and not touched for so long is given to somebody else, too."""


@dataclass(frozen=True)
class Progress:
    """Of one ranker."""

    done: int
    left: int
    """Items that this ranker has begun, or could still be given."""


class LabelStore:
    """Gives every item to `per_item` people, and each of them its answers in a random order.

    Several people and several processes may use one file at once. Raises BadData where an item that somebody was
    given is missing from `items`, or has other answers than it had.
    """

    def __init__(self, path: Path | str, items: Sequence[Item], *, per_item: int = 1, seed: int = 0) -> None:
        self.path = Path(path)
        self.items: Mapping[str, Item] = {item.id: item for item in items}
        self.per_item = per_item
        self._seed = seed
        self._lock = threading.RLock()
        self._connection = connect(self.path)
        try:
            self._keep_items()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def next(self, ranker: str) -> Assignment | None:
        """What the ranker has begun, else a new item; None where nothing is left for them."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT * FROM assignments WHERE ranker = ? AND finished IS NULL ORDER BY touched DESC LIMIT 1",
                (ranker,),
            ).fetchone()
            if row is None:
                open_to = self._open_to(ranker)
                if not open_to:
                    return None
                row = self._assign(ranker, open_to[0])
            return self._assignment(row)

    def assigned(self, ranker: str, number: int) -> Assignment | None:
        """The ranker's open assignment of this id; None where it is not open, or somebody else's."""
        with self._lock:
            row = self._connection.execute(
                "SELECT * FROM assignments WHERE id = ? AND ranker = ? AND finished IS NULL", (number, ranker)
            ).fetchone()
        return None if row is None else self._assignment(row)

    def keep_draft(self, assignment: Assignment, draft: str) -> None:
        """Keeps what is not finished; nothing happens to an assignment that is finished."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE assignments SET draft = ?, touched = ? WHERE id = ? AND finished IS NULL",
                (draft, time.time(), assignment.id),
            )

    def submit(
        self,
        assignment: Assignment,
        ranks: Sequence[Rank],  # K  of the answers as shown: 0 is the best, ties are equal, None is unknown
        flags: Sequence[Sequence[str]] | None = None,  # K  of the answers as shown; None: no flags
        seconds: float = 0.0,
        cannot_judge: bool = False,
    ) -> None:
        """Keeps a ranking; a second one of the same assignment replaces the first. Raises BadData."""
        count = len(assignment.order)
        shown_ranks = checked_ranks(ranks, count, cannot_judge)
        shown_flags = checked_flags(flags if flags is not None else [()] * count, count)
        own_ranks: list[Rank] = [None] * count
        own_flags: list[Flags] = [()] * count
        for shown, own in enumerate(assignment.order):
            own_ranks[own], own_flags[own] = shown_ranks[shown], shown_flags[shown]
        with self._transaction() as connection:
            connection.execute(
                "UPDATE assignments SET finished = ?, ranks = ?, flags = ?, seconds = ?, cannot_judge = ? WHERE id = ?",
                (time.time(), json.dumps(own_ranks), json.dumps(own_flags), seconds, cannot_judge, assignment.id),
            )

    def undo(self, ranker: str) -> Assignment | None:
        """Opens the ranking that the ranker finished last again; None where there is none."""
        with self._transaction() as connection:
            row = connection.execute(
                "UPDATE assignments SET finished = NULL, ranks = NULL, flags = NULL, seconds = NULL, cannot_judge = 0,"
                " touched = ? WHERE id = (SELECT id FROM assignments WHERE ranker = ? AND finished IS NOT NULL"
                " ORDER BY finished DESC, id DESC LIMIT 1) RETURNING *",
                (time.time(), ranker),
            ).fetchone()
            return None if row is None else self._assignment(row)

    def progress(self, ranker: str) -> Progress:
        with self._transaction() as connection:
            done, begun = connection.execute(
                "SELECT count(finished), count(*) - count(finished) FROM assignments WHERE ranker = ?", (ranker,)
            ).fetchone()
            return Progress(done, begun + len(self._open_to(ranker)))

    def rankings(self) -> list[Ranking]:
        """All that is finished, by item as in the file, then by ranker."""
        with self._lock:
            rows = self._connection.execute("SELECT * FROM assignments WHERE finished IS NOT NULL").fetchall()
        place = {name: number for number, name in enumerate(self.items)}
        return sorted(map(_ranking, rows), key=lambda ranking: (place[ranking.item], ranking.ranker))

    def add(self, ranking: Ranking) -> None:
        """Keeps a ranking that was made elsewhere, in place of what the ranker said about the item before.

        Raises BadData.
        """
        if ranking.item not in self.items:
            raise BadData(f"item {ranking.item} is none of the {len(self.items)} here")
        count = len(self.items[ranking.item].answers)
        checked_ranks(ranking.ranks, count, ranking.cannot_judge), checked_flags(ranking.flags, count)
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT * FROM assignments WHERE item = ? AND ranker = ?", (ranking.item, ranking.ranker)
            ).fetchone()
            assignment = self._assignment(row or self._assign(ranking.ranker, ranking.item))
        self.submit(
            assignment,
            [ranking.ranks[own] for own in assignment.order],
            [ranking.flags[own] for own in assignment.order],
            ranking.seconds,
            ranking.cannot_judge,
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._connection) as connection:
            yield connection

    def _keep_items(self) -> None:
        with self._transaction() as connection:
            kept = dict(connection.execute("SELECT id, digest FROM items").fetchall())
            given = {item for (item,) in connection.execute("SELECT DISTINCT item FROM assignments")}
            for name in sorted(given):
                if name not in self.items or self.items[name].digest() != kept[name]:
                    change = "is not among the items any more" if name not in self.items else "has other texts now"
                    raise BadData(f"{self.path}: item {name} {change}, and somebody was given it to rank")
            connection.execute("DELETE FROM items WHERE id NOT IN (SELECT item FROM assignments)")
            connection.executemany(
                "INSERT INTO items VALUES (?, ?)",
                [(item.id, item.digest()) for item in self.items.values() if item.id not in given],
            )

    def _open_to(self, ranker: str) -> list[str]:
        """Items that the ranker may be given: those that fewest people have, in an order of the ranker's own."""
        rows = self._connection.execute(
            "SELECT item, ranker FROM assignments WHERE finished IS NOT NULL OR touched > ? OR ranker = ?",
            (time.time() - HELD_S, ranker),
        ).fetchall()
        held = Counter(row["item"] for row in rows)
        own = {row["item"] for row in rows if row["ranker"] == ranker}
        names = [name for name in self.items if name not in own and held[name] < self.per_item]
        random.Random(f"{self._seed} {ranker}").shuffle(names)
        return sorted(names, key=lambda name: held[name])

    def _assign(self, ranker: str, item: str) -> sqlite3.Row:
        order = list(range(len(self.items[item].answers)))
        random.Random(f"{self._seed} {ranker} {item}").shuffle(order)
        row: sqlite3.Row = self._connection.execute(
            "INSERT INTO assignments (item, ranker, shown, touched) VALUES (?, ?, ?, ?) RETURNING *",
            (item, ranker, json.dumps(order), time.time()),
        ).fetchone()
        return row

    def _assignment(self, row: sqlite3.Row) -> Assignment:
        item = self.items[row["item"]]
        order = tuple(json.loads(row["shown"]))
        answers = tuple(item.answers[own] for own in order)
        return Assignment(row["id"], row["ranker"], item.id, item.question, answers, order, row["draft"])


def _ranking(row: sqlite3.Row) -> Ranking:
    flags = tuple(tuple(own) for own in json.loads(row["flags"]))
    ranks = tuple(json.loads(row["ranks"]))
    return Ranking(row["item"], row["ranker"], ranks, flags, row["seconds"], bool(row["cannot_judge"]))
