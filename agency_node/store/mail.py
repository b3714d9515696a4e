"""Sealed messages on their way out, and the ids of those that came in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import CarriedRelease, OutboxItem
from agency_node.store.schema import INBOX, OUTBOX
from policies.ids import AgencyId
from protos.wire.relay import ToAgency, ToLink


class OutboxRepository:
    """Messages that the broker has not accepted yet, oldest first."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, item: OutboxItem) -> None:
        """Queues a message; it leaves only after this transaction has committed."""
        address, release = item.address, item.release
        await self._session.execute(
            sa.insert(OUTBOX).values(
                message_id=item.message_id,
                agency=address.agency if isinstance(address, ToAgency) else None,
                link_token=address.token if isinstance(address, ToLink) else None,
                purpose=item.purpose,
                sealed=item.sealed,
                expires=int(item.expires.timestamp()),
                attempts=0,
                not_before=0,
                release_hash=None if release is None else release.release_hash,
                decided=None if release is None else int(release.decided.timestamp()),
                content=None if release is None else release.content,
            )
        )

    async def due(self, now: datetime, limit: int = 50) -> tuple[OutboxItem, ...]:
        """The oldest messages that may be tried now."""
        rows = await self._session.execute(
            sa.select(OUTBOX)
            .where(OUTBOX.c.not_before <= int(now.timestamp()))
            .order_by(OUTBOX.c.position)
            .limit(limit)
        )
        return tuple(_item(row) for row in rows)

    async def sent(self, message_id: str) -> None:
        """The broker has it, or shall never have it: it leaves the queue."""
        await self._session.execute(sa.delete(OUTBOX).where(OUTBOX.c.message_id == message_id))

    async def postpone(self, message_id: str, until: datetime) -> None:
        """A try failed; the next is not before `until`."""
        await self._session.execute(
            sa.update(OUTBOX)
            .where(OUTBOX.c.message_id == message_id)
            .values(attempts=OUTBOX.c.attempts + 1, not_before=int(until.timestamp()))
        )

    async def count(self) -> int:
        """How many messages wait."""
        return int(await self._session.scalar(sa.select(sa.func.count()).select_from(OUTBOX)) or 0)


class InboxRepository:
    """Which messages have already had their effect: each has it once."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def seen(self, sender: AgencyId, message_id: str) -> bool:
        """Whether this message has had its effect."""
        return (
            await self._session.scalar(
                sa.select(INBOX.c.received).where(INBOX.c.sender == sender, INBOX.c.message_id == message_id)
            )
        ) is not None

    async def note(self, sender: AgencyId, message_id: str, now: datetime) -> None:
        """Notes a message in the transaction of its effect."""
        await self._session.execute(
            sa.insert(INBOX).values(sender=str(sender), message_id=message_id, received=int(now.timestamp()))
        )

    async def forget_before(self, moment: datetime) -> None:
        """Deletes ids so old that the broker would not deliver the message any more."""
        await self._session.execute(sa.delete(INBOX).where(INBOX.c.received < int(moment.timestamp())))


def _item(row: sa.Row[Any]) -> OutboxItem:
    address = ToLink(row.link_token) if row.link_token is not None else ToAgency(AgencyId(row.agency))
    release = None
    if row.release_hash is not None:
        decided = datetime.fromtimestamp(row.decided, UTC)
        release = CarriedRelease(row.release_hash, decided, row.content or "")
    return OutboxItem(
        row.message_id,
        address,
        row.purpose,
        row.sealed,
        datetime.fromtimestamp(row.expires, UTC),
        row.attempts,
        release,
    )
