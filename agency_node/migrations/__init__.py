"""The database schema's history, run when the node starts and by `tallystick node migrate`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

#: Of the node's own, so that a test may keep node and broker in one database.
VERSION_TABLE = "node_alembic_version"


async def upgrade(engine: AsyncEngine, to: str = "head") -> str:
    """Brings the schema to a revision, in one transaction; returns the newest one's id."""
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade, to)
    return newest()


async def revision(engine: AsyncEngine) -> str | None:
    """The revision that the database is at; None for an empty one."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda plain: _context(plain).get_current_revision())


def newest() -> str:
    """The newest revision that this version of the program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("the package ships at least one revision")
    return head


def _upgrade(connection: Connection, to: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
