"""Which orders of officers were carried out, for as long as they could be given again."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.store.schema_disclosure import ORDERS_CARRIED_OUT


class OrderRepository:
    """Orders by the hash of what was signed."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def note(self, order_hash: str, keep_until: datetime) -> bool:
        """Notes that an order is carried out in this transaction; False if it was before."""
        values = {"order_hash": order_hash, "keep_until": int(keep_until.timestamp())}
        # One statement, so that of two transactions at once the second waits and sees the first.
        if self._session.get_bind().dialect.name == "sqlite":
            statement: sa.Insert = sqlite.insert(ORDERS_CARRIED_OUT).values(values).on_conflict_do_nothing()
        else:
            statement = postgresql.insert(ORDERS_CARRIED_OUT).values(values).on_conflict_do_nothing()
        result = await self._session.execute(statement.returning(ORDERS_CARRIED_OUT.c.order_hash))
        return result.one_or_none() is not None

    async def prune(self, now: datetime) -> None:
        """Forgets orders that are too old to be given again."""
        await self._session.execute(
            sa.delete(ORDERS_CARRIED_OUT).where(ORDERS_CARRIED_OUT.c.keep_until < int(now.timestamp()))
        )
