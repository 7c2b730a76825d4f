"""The tables of `labels.sqlite`, and connections to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..jsonl import BadData

BUSY_TIMEOUT_S = 30.0

_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL                -- of question and answers
) STRICT;
CREATE TABLE IF NOT EXISTS assignments (
    id INTEGER PRIMARY KEY,
    item TEXT NOT NULL REFERENCES items (id),
    ranker TEXT NOT NULL,
    shown TEXT NOT NULL,                -- JSON: own place of each answer that is shown
    touched REAL NOT NULL,              -- Unix time of the newest sign of life
    draft TEXT NOT NULL DEFAULT '',
    finished REAL,                      -- Unix time; null while it is open
    ranks TEXT,                         -- JSON, in the item's own order; null while it is open
    flags TEXT,                         -- JSON, in the item's own order; null while it is open
    seconds REAL,
    cannot_judge INTEGER NOT NULL DEFAULT 0,
    UNIQUE (item, ranker)
) STRICT;
CREATE INDEX IF NOT EXISTS assignments_of_ranker ON assignments (ranker, finished);
"""


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, and makes the tables of a new one. Raises BadData for a file that is something else.

    With a write-ahead log and full synchronisation, what was committed outlives a lost process and a lost machine.
    """
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise BadData(f"{path} cannot be used as a store of rankings: {error}") from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing; other processes wait. IMMEDIATE: what is read here is still so when it is written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
