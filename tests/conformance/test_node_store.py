"""The node's store on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import AsyncEngine

from agency_node import migrations
from agency_node.store.schema import METADATA
from agency_node.store.store import NodeStore
from tests.conformance.node_store import NodeStoreConformance
from tests.simulator.databases import migrate


async def opened(url: str) -> AsyncIterator[NodeStore]:
    store = NodeStore.open(url)
    await migrations.upgrade(store.engine)
    yield store
    await store.close()


class TestSqliteFile(NodeStoreConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[NodeStore]:
        async for store in opened(f"sqlite:///{tmp_path / 'node.db'}"):
            yield store

    async def test_a_transaction_within_another_would_wait_for_itself(self, store: NodeStore) -> None:
        async with store.transaction():
            with pytest.raises(AssertionError, match="pass `tx` on"):
                async with store.transaction():
                    pass


class TestSqliteMemory(NodeStoreConformance):
    @pytest.fixture
    async def store(self) -> AsyncIterator[NodeStore]:
        async for store in opened("sqlite://"):
            yield store


class TestPostgres(NodeStoreConformance):
    @pytest.fixture
    async def store(self, postgres_url: str) -> AsyncIterator[NodeStore]:
        async for store in opened(postgres_url):
            yield store


def _differences(connection: sa.Connection) -> list[object]:
    options = {"version_table": migrations.VERSION_TABLE}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))


def _keys(connection: sa.Connection) -> dict[str, list[str]]:
    inspector = sa.inspect(connection)
    return {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in METADATA.tables}


@pytest.mark.parametrize("make", [migrations.upgrade, migrate])
async def test_migrations_make_exactly_the_tables_of_the_schema(
    tmp_path: Path, make: Callable[[AsyncEngine], Awaitable[object]]
) -> None:
    store = NodeStore.open(f"sqlite:///{tmp_path / 'node.db'}")
    assert await migrations.revision(store.engine) is None
    await make(store.engine)
    newest = migrations.newest()
    assert await migrations.upgrade(store.engine) == newest == await migrations.revision(store.engine)
    async with store.engine.connect() as connection:
        differences = await connection.run_sync(_differences)
        keys = await connection.run_sync(_keys)
    assert differences == []
    assert keys == {name: table.primary_key.columns.keys() for name, table in METADATA.tables.items()}
    await store.close()
