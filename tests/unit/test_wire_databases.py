"""A closed SQLite connection holds no lock, whatever was under way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from protos.wire.databases import RollbackOnClose


def test_closing_in_the_middle_of_a_statement_gives_up_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = sqlite3.connect(path, isolation_level=None, factory=RollbackOnClose)
    first.execute("PRAGMA journal_mode = WAL")
    first.execute("CREATE TABLE t (a)")
    first.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1_000)])
    first.execute("BEGIN IMMEDIATE")
    first.execute("INSERT INTO t VALUES (-1)")
    unfinished = first.execute("SELECT a FROM t")
    assert unfinished.fetchone() == (0,)
    first.close()
    # `unfinished` still lives, as in the traceback of a task that was cancelled.
    second = sqlite3.connect(path, isolation_level=None, timeout=0)
    second.execute("BEGIN IMMEDIATE")
    assert second.execute("SELECT count(*) FROM t").fetchone() == (1_000,)
    second.close()
    del unfinished
