"""The store in SQL: SQLite by default, PostgreSQL by URL.

The broker is one process, so that one lock makes one writer; readers go on beside it. SQLite runs with a
write-ahead log and full synchronisation: what a transaction committed survives a power cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.store.sql_documents import SqlDocuments, SqlEpochs, SqlTrust
from broker.store.sql_encodings import SqlEncodings, SqlRuns
from broker.store.sql_holds import SqlHolds
from broker.store.sql_links import SqlLinks
from broker.store.sql_relay import SqlAudit, SqlRelay
from protos.wire.databases import RollbackOnClose

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
_SQLITE_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA busy_timeout = 10000",
    # Withdrawal is real deletion: freed pages are overwritten.
    "PRAGMA secure_delete = ON",
)


class SqlTransaction:
    """All roles over one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.trust = SqlTrust(connection)
        self.documents = SqlDocuments(connection)
        self.epochs = SqlEpochs(connection)
        self.encodings = SqlEncodings(connection)
        self.runs = SqlRuns(connection)
        self.links = SqlLinks(connection)
        self.holds = SqlHolds(connection)
        self.relay = SqlRelay(connection)
        self.audit = SqlAudit(connection)


class SqlStore:
    """A `BrokerStore` over an engine whose schema is in place (`broker.migrations.upgrade`)."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqlTransaction]:
        """A transaction that may change things."""
        async with self._writer, self._engine.begin() as connection:
            yield SqlTransaction(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """A transaction that only reads, one consistent state."""
        async with self._engine.connect() as connection:
            yield SqlTransaction(connection)

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


def normal_url(url: str) -> str:
    """The URL with the driver that the broker uses.

    Raises:
        ValueError: a database that the broker does not know.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ValueError(f"database {backend!r} is not supported; use sqlite:///... or postgresql://...")
    return parsed.set(drivername=_DRIVERS[backend]).render_as_string(hide_password=False)


def open_engine(url: str) -> AsyncEngine:
    """An engine for a database URL, with SQLite set up to be durable; no value stands in its exceptions."""
    full = normal_url(url)
    if not full.startswith("sqlite"):
        # One snapshot for all statements of a transaction, so that a read is consistent.
        return create_async_engine(
            full, isolation_level="REPEATABLE READ", pool_pre_ping=True, hide_parameters=True
        )
    engine = create_async_engine(full, hide_parameters=True, connect_args={"factory": RollbackOnClose})
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_up_sqlite(connection: object, _record: object) -> None:
    # The driver must not begin or commit on its own: SQLAlchemy does, below.
    connection.isolation_level = None  # type: ignore[attr-defined] # the DB-API adapter of aiosqlite
    cursor = connection.cursor()  # type: ignore[attr-defined] # as above
    for setting in _SQLITE_SETTINGS:
        cursor.execute(setting)
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
