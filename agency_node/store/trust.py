"""Roots and registries, as the envelopes that were verified before they came here."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.store.schema import REGISTRIES, ROOTS


@dataclass(frozen=True, slots=True)
class AcceptedRegistry:
    """What was believed from one acceptance to the next: a root's version, and a registry, if any."""

    root_version: int
    envelope: bytes | None


class TrustRepository:
    """The chain of roots from the anchor on, and every registry that was accepted."""

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
        """The envelope of the registry that was accepted last."""
        newest = sa.select(REGISTRIES.c.envelope).order_by(REGISTRIES.c.position.desc()).limit(1)
        return await self._session.scalar(newest)

    async def registries(self) -> tuple[AcceptedRegistry, ...]:
        """All that were accepted, in that order: a log is judged by the registry of each entry's time."""
        rows = await self._session.execute(
            sa.select(REGISTRIES.c.root_version, REGISTRIES.c.envelope).order_by(REGISTRIES.c.position)
        )
        return tuple(AcceptedRegistry(root, envelope) for root, envelope in rows)

    async def add_registry(self, root_version: int, envelope: bytes | None) -> None:
        """Keeps what is believed from now on."""
        last = await self._session.scalar(sa.select(sa.func.max(REGISTRIES.c.position)))
        await self._session.execute(
            sa.insert(REGISTRIES).values(
                position=0 if last is None else last + 1, root_version=root_version, envelope=envelope
            )
        )
