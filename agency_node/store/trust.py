"""Roots and registries, as the envelopes that were verified before they came here."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.store.schema import REGISTRIES, ROOTS


class TrustRepository:
    """The chain of roots from the anchor on, and the newest registry."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def roots(self) -> tuple[bytes, ...]:
        """Envelopes of all roots, versions ascending."""
        rows = await self._session.scalars(sa.select(ROOTS.c.envelope).order_by(ROOTS.c.version))
        return tuple(rows)

    async def add_root(self, version: int, envelope: bytes) -> None:
        """Keeps the next root."""
        await self._session.execute(sa.insert(ROOTS).values(version=version, envelope=envelope))

    async def registry(self) -> bytes | None:
        """The newest registry's envelope."""
        newest = sa.select(REGISTRIES.c.envelope).order_by(REGISTRIES.c.version.desc()).limit(1)
        return await self._session.scalar(newest)

    async def put_registry(self, version: int, envelope: bytes) -> None:
        """Keeps a newer registry and forgets the older ones."""
        await self._session.execute(sa.delete(REGISTRIES))
        await self._session.execute(sa.insert(REGISTRIES).values(version=version, envelope=envelope))
