"""A closed SQLite connection holds no lock, and an exception of a database shows no value."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

import agency_node.store.engine
import broker.store.sql
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


@pytest.mark.parametrize("module", [agency_node.store.engine, broker.store.sql])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_an_exception_shows_no_value(
    module: ModuleType, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    if kind == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    engine = module.open_engine(url)
    table = sa.Table(
        "people", sa.MetaData(), sa.Column("n", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
    )
    async with engine.begin() as connection:
        await connection.run_sync(table.create)
        await connection.execute(sa.insert(table).values(n=1, name="Susan Marsden"))
    with pytest.raises(IntegrityError) as refused:
        async with engine.begin() as connection:
            await connection.execute(sa.insert(table).values(n=1, name="Susan Marsden"))
    await engine.dispose()
    assert "hide_parameters" in str(refused.value) and "Susan" not in str(refused.value)
