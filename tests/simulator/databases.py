"""Node databases with their tables, made from what one run of the migrations left rather than by running all.

The migrations themselves are tested in `tests/conformance`, on every database.
"""

from __future__ import annotations

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from agency_node import migrations
from agency_node.store.engine import open_engine

_script: str | None = None


async def migrate(engine: AsyncEngine) -> None:
    """Leaves an empty SQLite database as `migrations.upgrade` would."""
    global _script
    if _script is None:
        model = open_engine("sqlite://")
        await migrations.upgrade(model)
        async with model.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert isinstance(raw, aiosqlite.Connection)
            _script = "\n".join([line async for line in raw.iterdump()])
        await model.dispose()
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert isinstance(raw, aiosqlite.Connection)
        await raw.executescript(_script)
