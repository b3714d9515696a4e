"""Mailboxes and the audit log in SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import CursorResult, Row, delete, func, insert, select

from broker.store.model import Envelope, LogNode, MailboxLoad
from broker.store.sql_support import SqlRole, moment, seconds
from broker.store.tables import checkpoints, leaves, mail, nodes, seen
from protos.wire.databases import chunks
from protos.wire.linkage import Strength
from protos.wire.relay import IncomingMessage, LinkReference


class SqlRelay(SqlRole):
    """`RelayStore`."""

    async def seen(self, sender: str, message_id: str) -> str | None:
        """See `RelayStore.seen`."""
        digest: str | None = await self._c.scalar(
            select(seen.c.digest).where(seen.c.sender == sender, seen.c.message_id == message_id)
        )
        return digest

    async def put(self, envelope: Envelope) -> None:
        """See `RelayStore.put`."""
        message, link = envelope.message, envelope.message.link
        await self._c.execute(
            insert(seen).values(
                sender=message.sender,
                message_id=message.message_id,
                digest=envelope.digest,
                expires=seconds(envelope.expires),
            )
        )
        await self._c.execute(
            insert(mail).values(
                recipient=envelope.recipient,
                sender=message.sender,
                message_id=message.message_id,
                purpose=message.purpose,
                digest=envelope.digest,
                sealed=message.sealed,
                expires=seconds(envelope.expires),
                handle=link.handle if link else None,
                linkage=link.linkage_id if link else None,
                epoch=link.epoch if link else None,
                strength=link.strength.value if link else None,
            )
        )

    async def is_waiting(self, recipient: str, message_id: str) -> bool:
        """See `RelayStore.is_waiting`."""
        found = select(mail.c.position).where(mail.c.recipient == recipient, mail.c.message_id == message_id)
        return await self._c.scalar(found.limit(1)) is not None

    async def load(self, recipient: str, sender: str | None = None) -> MailboxLoad:
        """See `RelayStore.load`."""
        size = func.coalesce(func.sum(func.length(mail.c.sealed)), 0)
        found = select(func.count(), size).where(mail.c.recipient == recipient)
        if sender is not None:
            found = found.where(mail.c.sender == sender)
        row = (await self._c.execute(found)).one()
        return MailboxLoad(int(row[0]), int(row[1]))

    async def totals(self) -> MailboxLoad:
        """See `RelayStore.totals`."""
        size = func.coalesce(func.sum(func.length(mail.c.sealed)), 0)
        row = (await self._c.execute(select(func.count(), size).select_from(mail))).one()
        return MailboxLoad(int(row[0]), int(row[1]))

    async def waiting(self, recipient: str, after: int, now: datetime, limit: int) -> tuple[Envelope, ...]:
        """See `RelayStore.waiting`."""
        rows = await self._c.execute(
            select(mail)
            .where(mail.c.recipient == recipient, mail.c.position > after, mail.c.expires > seconds(now))
            .order_by(mail.c.position)
            .limit(limit)
        )
        return tuple(_envelope(row) for row in rows)

    async def acknowledge(self, recipient: str, message_ids: Iterable[str]) -> int:
        """See `RelayStore.acknowledge`."""
        gone = 0
        for part in chunks(message_ids):
            done = await self._c.execute(
                delete(mail).where(mail.c.recipient == recipient, mail.c.message_id.in_(part))
            )
            gone += _count(done)
        return gone

    async def purge(self, now: datetime) -> int:
        """See `RelayStore.purge`."""
        done = await self._c.execute(delete(mail).where(mail.c.expires <= seconds(now)))
        await self._c.execute(delete(seen).where(seen.c.expires <= seconds(now)))
        return _count(done)


class SqlAudit(SqlRole):
    """`AuditStore`."""

    async def size(self) -> int:
        """See `AuditStore.size`."""
        newest = await self._c.scalar(select(func.max(leaves.c.index)))
        return 0 if newest is None else newest + 1

    async def append(self, index: int, leaf: bytes, sealed: bytes, completed: Iterable[LogNode]) -> None:
        """See `AuditStore.append`."""
        await self._c.execute(insert(leaves).values(index=index, leaf=leaf, sealed=sealed))
        await self._c.execute(
            insert(nodes),
            [{"level": node.level, "index": node.index, "hash": node.hash} for node in completed],
        )

    async def nodes(self, wanted: Iterable[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """See `AuditStore.nodes`."""
        by_level: dict[int, list[int]] = defaultdict(list)
        for level, index in wanted:
            by_level[level].append(index)
        found: dict[tuple[int, int], bytes] = {}
        for level, indexes in by_level.items():
            for part in chunks(indexes):
                rows = await self._c.execute(
                    select(nodes.c.index, nodes.c.hash).where(nodes.c.level == level, nodes.c.index.in_(part))
                )
                found |= {(level, number): value for number, value in rows}
        return found

    async def leaves(self, first: int, end: int) -> tuple[bytes, ...]:
        """See `AuditStore.leaves`."""
        rows = await self._c.scalars(
            select(leaves.c.leaf)
            .where(leaves.c.index >= first, leaves.c.index < end)
            .order_by(leaves.c.index)
        )
        return tuple(rows)

    async def checkpoint(self) -> tuple[int, bytes] | None:
        """See `AuditStore.checkpoint`."""
        newest = select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)
        row = (await self._c.execute(newest)).one_or_none()
        return None if row is None else (row.size, row.note)

    async def checkpoint_at(self, size: int) -> bytes | None:
        """See `AuditStore.checkpoint_at`."""
        note: bytes | None = await self._c.scalar(
            select(checkpoints.c.note).where(checkpoints.c.size == size)
        )
        return note

    async def put_checkpoint(self, size: int, note: bytes) -> None:
        """See `AuditStore.put_checkpoint`."""
        await self._upsert(checkpoints, [{"size": size, "note": note}])


def _count(done: CursorResult[object]) -> int:
    return done.rowcount


def _envelope(row: Row[tuple[object, ...]]) -> Envelope:
    link = None
    if row.handle is not None:
        link = LinkReference(row.handle, row.linkage, row.epoch, Strength(row.strength))
    return Envelope(
        recipient=row.recipient,
        message=IncomingMessage(row.message_id, row.sender, row.purpose, row.sealed, link),
        digest=row.digest,
        expires=moment(row.expires),
        position=row.position,
    )
