"""Engines for the node's database, set so that a committed transaction survives a power cut.

SQLite: write-ahead log, `synchronous=FULL` (fsync at every commit), and `BEGIN IMMEDIATE`, so that two
writers queue instead of failing half-way. PostgreSQL keeps its own durable defaults. What is stored stands in
no exception: `hide_parameters`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from protos.wire.databases import RollbackOnClose

BUSY_SECONDS = 30
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


class StoreError(Exception):
    """The node's database cannot be used; the message says why, without credentials."""


def open_engine(url: str) -> AsyncEngine:
    """An engine for `sqlite:///path`, `sqlite://` (memory, for tests) or `postgresql://...`.

    Raises:
        StoreError: the URL is malformed or names another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(
            "the database URL is malformed; expected sqlite:///PATH or postgresql://..."
        ) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise StoreError(f"the node keeps its data in SQLite or PostgreSQL, not in {parsed.drivername}")
    parsed = parsed.set(drivername=driver)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    in_memory = parsed.database in (None, "", ":memory:")
    options: dict[str, Any] = {"poolclass": StaticPool} if in_memory else {}
    engine = create_async_engine(
        parsed,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "factory": RollbackOnClose},
        **options,
    )
    _prepare_sqlite(engine)
    return engine


def _prepare_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
