"""What the SQL roles share: times as whole seconds, upserts, and rows in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

Record = Mapping[str, object]


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return int(moment.timestamp())


def moment(value: int) -> datetime:
    """The inverse of `seconds`, UTC aware."""
    return datetime.fromtimestamp(value, UTC)


class SqlRole:
    """One role over an open connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._c = connection

    async def _upsert(self, table: Table, records: Sequence[Record]) -> None:
        """Inserts records, replacing all other columns where the primary key is there already."""
        if not records:
            return
        keys = [column.name for column in table.primary_key.columns]
        dialect = postgresql if self._c.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(table)
        changes = {name: insert.excluded[name] for name in records[0] if name not in keys}
        statement = (
            insert.on_conflict_do_update(index_elements=keys, set_=changes)
            if changes
            else insert.on_conflict_do_nothing(index_elements=keys)
        )
        await self._c.execute(statement, [dict(record) for record in records])
