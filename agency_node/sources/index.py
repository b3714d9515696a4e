"""A temporary on-disk index, so that joining tables of any size needs little memory.

It holds personal data: its file has no name from before the first row on, so that nobody can open it, and the
system frees it when this process ends, however it ends. SQLite keeps the rows of side tables (aliases,
records) by subject, and the subject numbers already seen; it writes to no other file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Final

from agency_node.sources.rows import RawRow

_BATCH: Final = 500
"""Subjects per query, below SQLite's oldest limit of 999 parameters."""

# A journal would be a file with a name. To sort rows for an index, SQLite would make files in the system's
# temporary folder, so the index stands before the rows come, and what is small is sorted in memory.
_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -32768;
    CREATE TABLE rows (key TEXT, subject TEXT, source TEXT, line INTEGER, cells TEXT);
    CREATE INDEX rows_by_subject ON rows (key, subject);
    CREATE TABLE seen (key TEXT, subject TEXT, call INTEGER, PRIMARY KEY (key, subject)) WITHOUT ROWID;
"""


class RowIndex:
    """Rows by table key and subject number, and a set of subject numbers; ``close`` gives up its file."""

    def __init__(self, folder: Path | None = None) -> None:
        self._db = _nameless(folder)
        self._indexed: set[str] = set()
        self._calls = 0

    def has(self, key: str) -> bool:
        """Whether the rows of ``key`` were loaded."""
        return key in self._indexed

    def load(self, key: str, subject_column: str, rows: Iterable[RawRow]) -> None:
        """Store every row of a table; a second load of the same key replaces nothing and is refused."""
        if key in self._indexed:
            raise ValueError(f"{key} is already indexed")
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            (
                (key, row.cells[subject_column].strip(), row.table, row.line, json.dumps(dict(row.cells)))
                for row in rows
            ),
        )
        self._db.execute("COMMIT")
        self._indexed.add(key)

    def find(self, key: str, subjects: Sequence[str]) -> dict[str, list[RawRow]]:
        """The rows of the given subjects, in file order."""
        found: dict[str, list[RawRow]] = {}
        for start in range(0, len(subjects), _BATCH):
            part = subjects[start : start + _BATCH]
            marks = ",".join("?" * len(part))
            # only question marks are put into the text of the query
            query = (
                "SELECT subject, source, line, cells FROM rows"  # noqa: S608
                f" WHERE key = ? AND subject IN ({marks}) ORDER BY rowid"
            )
            for subject, source, line, cells in self._db.execute(query, (key, *part)):
                found.setdefault(subject, []).append(RawRow(source, line, json.loads(cells)))
        return found

    def forget_seen(self, key: str) -> None:
        """Start a new pass over the subjects of ``key``."""
        self._db.execute("DELETE FROM seen WHERE key = ?", (key,))

    def first_time(self, key: str, subjects: Sequence[str]) -> list[bool]:
        """For each subject number whether it is new under ``key``; afterwards it is not."""
        self._calls += 1
        self._db.execute("BEGIN")
        added = self._db.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)",
            zip(repeat(key), subjects, repeat(self._calls), strict=False),
        ).rowcount
        self._db.execute("COMMIT")
        if added == len(subjects):
            return [True] * added
        query = "SELECT subject FROM seen WHERE key = ? AND subject = ? AND call = ?"
        left = set(subjects)
        new = []
        for subject in subjects:
            again = subject not in left
            left.discard(subject)
            new.append(
                not again and self._db.execute(query, (key, subject, self._calls)).fetchone() is not None
            )
        return new

    def was_seen(self, key: str, subject: str) -> bool:
        """Whether the subject number was seen under ``key``."""
        query = "SELECT 1 FROM seen WHERE key = ? AND subject = ?"
        return self._db.execute(query, (key, subject)).fetchone() is not None

    def close(self) -> None:
        """Free the index's place on the disk."""
        self._db.close()


def _nameless(folder: Path | None) -> sqlite3.Connection:
    """An empty index in a file of mode 0600 that is unlinked while nothing is in it."""
    handle, name = tempfile.mkstemp(prefix="tallystick-source-", dir=folder)
    os.close(handle)
    try:
        database = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        database.executescript(_SCHEMA)
        return database
    finally:
        Path(name).unlink()
