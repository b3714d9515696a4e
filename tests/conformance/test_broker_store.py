"""The conformance suite on every back end, and what is special to those in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.engine import Connection

from broker import migrations
from broker.store.memory import MemoryStore
from broker.store.ports import BrokerStore
from broker.store.sql import SqlStore, normal_url, open_engine
from broker.store.tables import metadata
from tests.conformance.broker_store import BrokerStoreSuite


class TestMemory(BrokerStoreSuite):
    @pytest.fixture
    async def store(self) -> BrokerStore:
        return MemoryStore()


class TestSqlite(BrokerStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[BrokerStore]:
        engine = open_engine(f"sqlite:///{tmp_path / 'broker.sqlite'}")
        await migrations.upgrade(engine)
        store = SqlStore(engine)
        yield store
        await store.close()


class TestPostgres(BrokerStoreSuite):
    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[BrokerStore]:
        engine = open_engine(postgres_url)
        await migrations.upgrade(engine)
        store = SqlStore(engine)
        yield store
        await store.close()


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def _migrated_schema_is_that_of_the_tables(url: str) -> None:
    engine = open_engine(url)
    assert await migrations.revision(engine) is None
    assert await migrations.upgrade(engine) == migrations.newest()
    assert await migrations.upgrade(engine) == await migrations.revision(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


async def test_sqlite_migrations_make_the_tables(tmp_path: Path) -> None:
    await _migrated_schema_is_that_of_the_tables(f"sqlite:///{tmp_path / 'broker.sqlite'}")


async def test_postgres_migrations_make_the_tables(postgres_url: str) -> None:
    await _migrated_schema_is_that_of_the_tables(postgres_url)


async def test_sqlite_is_durable(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'broker.sqlite'}")
    async with engine.connect() as connection:
        found = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
    await engine.dispose()
    assert found == ["wal", 2, 1, 1]


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="mysql"):
        normal_url("mysql://localhost/broker")
    assert normal_url("postgresql://u:p@h/d") == "postgresql+psycopg://u:p@h/d"
