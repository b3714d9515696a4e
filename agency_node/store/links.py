"""The links that this agency was told of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import KnownLink
from agency_node.store.schema import LINK_CURSORS, LINKS
from policies.ids import AgencyId, LinkageId
from protos.wire.databases import chunks
from protos.wire.linkage import Strength


class LinkRepository:
    """Links by token, and how far the broker's link events have been read."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, links: Sequence[KnownLink]) -> None:
        """Keeps links that were told, or what changed about them; each token at most once."""
        if not links:
            return
        await self._session.execute(sa.delete(LINKS).where(LINKS.c.token.in_([link.token for link in links])))
        await self._session.execute(
            sa.insert(LINKS),
            [
                {
                    "token": link.token,
                    "linkage_id": str(link.linkage_id),
                    "handle": link.handle,
                    "epoch": link.epoch,
                    "counterpart": None if link.counterpart is None else str(link.counterpart),
                    "strength": link.strength.value,
                    "policy_hash": link.policy_hash,
                    "expires": int(link.expires.timestamp()),
                }
                for link in links
            ],
        )

    async def recall(self, tokens: Collection[bytes]) -> frozenset[bytes]:
        """Forgets links; which of them were held."""
        held: set[bytes] = set()
        for part in chunks(tokens):
            these = LINKS.c.token.in_(part)
            held.update(await self._session.scalars(sa.select(LINKS.c.token).where(these)))
            await self._session.execute(sa.delete(LINKS).where(these))
        return frozenset(held)

    async def by_token(self, token: bytes) -> KnownLink | None:
        """The link of a token."""
        row = (await self._session.execute(sa.select(LINKS).where(LINKS.c.token == token))).one_or_none()
        return None if row is None else _link(row)

    async def of_handle(self, linkage_id: LinkageId, handle: bytes) -> tuple[KnownLink, ...]:
        """All links of one of this agency's subjects."""
        rows = await self._session.execute(
            sa.select(LINKS)
            .where(LINKS.c.linkage_id == linkage_id, LINKS.c.handle == handle)
            .order_by(LINKS.c.token)
        )
        return tuple(_link(row) for row in rows)

    async def all(self, linkage_id: LinkageId | None = None) -> tuple[KnownLink, ...]:
        """All links, of one linkage or of every one."""
        query = sa.select(LINKS).order_by(LINKS.c.linkage_id, LINKS.c.handle, LINKS.c.token)
        if linkage_id is not None:
            query = query.where(LINKS.c.linkage_id == linkage_id)
        return tuple(_link(row) for row in await self._session.execute(query))

    async def count(self, linkage_id: LinkageId) -> int:
        """How many links are held in a linkage."""
        value = await self._session.scalar(
            sa.select(sa.func.count()).select_from(LINKS).where(LINKS.c.linkage_id == linkage_id)
        )
        return int(value or 0)

    async def cursor(self, linkage_id: LinkageId) -> int:
        """The last link event that was taken in; 0 before the first."""
        value = await self._session.scalar(
            sa.select(LINK_CURSORS.c.cursor).where(LINK_CURSORS.c.linkage_id == linkage_id)
        )
        return int(value or 0)

    async def set_cursor(self, linkage_id: LinkageId, cursor: int) -> None:
        """Notes how far the link events were taken in; in the same transaction as their effect."""
        await self._session.execute(sa.delete(LINK_CURSORS).where(LINK_CURSORS.c.linkage_id == linkage_id))
        await self._session.execute(sa.insert(LINK_CURSORS).values(linkage_id=str(linkage_id), cursor=cursor))


def _link(row: sa.Row[Any]) -> KnownLink:
    return KnownLink(
        token=row.token,
        handle=row.handle,
        linkage_id=LinkageId(row.linkage_id),
        epoch=row.epoch,
        counterpart=None if row.counterpart is None else AgencyId(row.counterpart),
        strength=Strength(row.strength),
        policy_hash=row.policy_hash,
        expires=datetime.fromtimestamp(row.expires, UTC),
    )
