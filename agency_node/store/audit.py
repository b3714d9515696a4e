"""The audit log's entries, tree and keys. Only `agency_node.audit` knows what they mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.store.schema_disclosure import (
    AUDIT_CHECKPOINTS,
    AUDIT_ENTRIES,
    AUDIT_HEAD,
    AUDIT_KEYS,
    AUDIT_NODES,
    AUDIT_WITNESSES,
)
from crypto.audit import AuditEntry, AuditLeaf
from crypto.merkle import HASH_BYTES, CompleteNode, MerkleFrontier
from policies.ids import AgencyId
from protos.wire.databases import chunks

_HEAD_ROW = 1
_PAGE = 2_000


@dataclass(frozen=True, slots=True)
class DataKey:
    """A wrapped data key. `wrapped` is None once it is erased."""

    key_id: str
    wrapped: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with the id of the key that opens its details."""

    seq: int
    leaf_bytes: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    key_id: str

    @property
    def leaf(self) -> AuditLeaf:
        """The leaf, parsed anew each time."""
        return AuditLeaf.from_bytes(self.leaf_bytes)


@dataclass(slots=True)
class LogHead:
    """The right edge of the tree, and the time of the last entry."""

    frontier: MerkleFrontier
    last_time: datetime


class AuditRepository:
    """Append-only entries; within one transaction appends have the log to themselves."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._head: LogHead | None = None

    async def head(self) -> LogHead:
        """The head, locked until the transaction ends."""
        if self._head is None:
            query = sa.select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == _HEAD_ROW).with_for_update()
            row = (await self._session.execute(query)).one_or_none()
            if row is None:
                await self._session.execute(self._first_head())
                row = (await self._session.execute(query)).one()
            peaks = [row.peaks[at : at + HASH_BYTES] for at in range(0, len(row.peaks), HASH_BYTES)]
            self._head = LogHead(MerkleFrontier(row.size, peaks), datetime.fromtimestamp(row.last_time, UTC))
        return self._head

    async def size(self) -> int:
        """How many entries there are."""
        return int(await self._session.scalar(sa.select(AUDIT_HEAD.c.size)) or 0)

    async def append(self, entries: Sequence[tuple[AuditEntry, str]], head: LogHead) -> None:
        """Adds entries, each with the id of its data key, that follow `head`, and moves `head` on."""
        rows: list[dict[str, object]] = []
        nodes: list[CompleteNode] = []
        for entry, key_id in entries:
            leaf = entry.leaf.to_bytes()
            nodes += head.frontier.append(leaf)
            head.last_time = entry.leaf.time
            rows.append({"seq": entry.leaf.seq, "leaf": leaf, "sealed": entry.sealed, "key_id": key_id})
        await self._session.execute(sa.insert(AUDIT_ENTRIES), rows)
        await self._session.execute(
            sa.insert(AUDIT_NODES),
            [{"level": node.level, "index": node.index, "hash": node.hash} for node in nodes],
        )
        await self._session.execute(
            sa.update(AUDIT_HEAD)
            .where(AUDIT_HEAD.c.id == _HEAD_ROW)
            .values(
                size=head.frontier.size,
                peaks=b"".join(head.frontier.peaks),
                last_time=int(head.last_time.timestamp()),
            )
        )

    async def entry(self, seq: int) -> StoredEntry | None:
        """One entry."""
        row = (
            await self._session.execute(sa.select(AUDIT_ENTRIES).where(AUDIT_ENTRIES.c.seq == seq))
        ).one_or_none()
        return None if row is None else _entry(row)

    async def entries(self, start: int = 0, end: int | None = None) -> AsyncIterator[StoredEntry]:
        """Entries `start` to `end - 1` in order, in pages."""
        while end is None or start < end:
            query = sa.select(AUDIT_ENTRIES).where(AUDIT_ENTRIES.c.seq >= start)
            if end is not None:
                query = query.where(AUDIT_ENTRIES.c.seq < end)
            rows = (await self._session.execute(query.order_by(AUDIT_ENTRIES.c.seq).limit(_PAGE))).all()
            for row in rows:
                yield _entry(row)
            if len(rows) < _PAGE:
                return
            start = rows[-1].seq + 1

    async def of_key(self, key_id: str) -> tuple[StoredEntry, ...]:
        """The entries whose details one key opens, in order."""
        rows = await self._session.execute(
            sa.select(AUDIT_ENTRIES).where(AUDIT_ENTRIES.c.key_id == key_id).order_by(AUDIT_ENTRIES.c.seq)
        )
        return tuple(_entry(row) for row in rows)

    async def nodes(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Hashes of complete tree nodes by (level, index); missing ones are left out."""
        found: dict[tuple[int, int], bytes] = {}
        for level, index in wanted:
            value = await self._session.scalar(
                sa.select(AUDIT_NODES.c.hash).where(
                    AUDIT_NODES.c.level == level, AUDIT_NODES.c.index == index
                )
            )
            if value is not None:
                found[level, index] = value
        return found

    # -- data keys

    async def key_of(self, subject_mac: str) -> DataKey | None:
        """The key for new entries about a subject."""
        row = (
            await self._session.execute(sa.select(AUDIT_KEYS).where(AUDIT_KEYS.c.subject_mac == subject_mac))
        ).one_or_none()
        return None if row is None else DataKey(row.key_id, row.wrapped)

    async def keys_of(self, subject_macs: Sequence[str]) -> dict[str, DataKey]:
        """As `key_of` for many subjects: those that have a key."""
        found: dict[str, DataKey] = {}
        for part in chunks(subject_macs):
            rows = await self._session.execute(
                sa.select(AUDIT_KEYS).where(AUDIT_KEYS.c.subject_mac.in_(part))
            )
            found |= {row.subject_mac: DataKey(row.key_id, row.wrapped) for row in rows}
        return found

    async def key(self, key_id: str) -> DataKey | None:
        """A key by its id."""
        row = (
            await self._session.execute(sa.select(AUDIT_KEYS).where(AUDIT_KEYS.c.key_id == key_id))
        ).one_or_none()
        return None if row is None else DataKey(row.key_id, row.wrapped)

    async def add_keys(self, keys: Mapping[str, DataKey]) -> None:
        """Keeps new keys, by the subject's keyed hash."""
        if keys:
            await self._session.execute(
                sa.insert(AUDIT_KEYS),
                [
                    {"key_id": key.key_id, "subject_mac": mac, "wrapped": key.wrapped}
                    for mac, key in keys.items()
                ],
            )

    async def erase_key(self, subject_mac: str) -> bool:
        """Destroys a subject's key, and the note of whose it was; whether there was one."""
        held = await self.key_of(subject_mac)
        await self._session.execute(
            sa.update(AUDIT_KEYS)
            .where(AUDIT_KEYS.c.subject_mac == subject_mac)
            .values(subject_mac=None, wrapped=None)
        )
        return held is not None

    # -- checkpoints and witnesses

    async def put_checkpoint(self, size: int, note: bytes) -> None:
        """Keeps a signed head; one of the same size is replaced (it has more cosignatures)."""
        await self._session.execute(sa.delete(AUDIT_CHECKPOINTS).where(AUDIT_CHECKPOINTS.c.size == size))
        await self._session.execute(sa.insert(AUDIT_CHECKPOINTS).values(size=size, note=note))

    async def checkpoint(self, size: int | None = None) -> bytes | None:
        """The signed head of a size, or the newest."""
        query = sa.select(AUDIT_CHECKPOINTS.c.note).order_by(AUDIT_CHECKPOINTS.c.size.desc()).limit(1)
        if size is not None:
            query = query.where(AUDIT_CHECKPOINTS.c.size == size)
        return await self._session.scalar(query)

    async def checkpoints(self) -> tuple[bytes, ...]:
        """All signed heads, smallest first."""
        return tuple(
            await self._session.scalars(
                sa.select(AUDIT_CHECKPOINTS.c.note).order_by(AUDIT_CHECKPOINTS.c.size)
            )
        )

    async def witnessed(self, peer: AgencyId, whose: str) -> tuple[int, bytes] | None:
        """Size and note of the newest head that was cosigned: `ours` by the peer, `theirs` here."""
        row = (
            await self._session.execute(
                sa.select(AUDIT_WITNESSES.c.size, AUDIT_WITNESSES.c.note).where(
                    AUDIT_WITNESSES.c.peer == peer, AUDIT_WITNESSES.c.whose == whose
                )
            )
        ).one_or_none()
        return None if row is None else (row.size, row.note)

    async def witnessed_heads(self) -> tuple[tuple[AgencyId, bytes], ...]:
        """The newest head of each other agency's log that was cosigned here, by agency."""
        rows = await self._session.execute(
            sa.select(AUDIT_WITNESSES.c.peer, AUDIT_WITNESSES.c.note)
            .where(AUDIT_WITNESSES.c.whose == "theirs")
            .order_by(AUDIT_WITNESSES.c.peer)
        )
        return tuple((AgencyId(row.peer), row.note) for row in rows)

    async def put_witnessed(self, peer: AgencyId, whose: str, size: int, note: bytes) -> None:
        """Notes a newer cosigned head, in the transaction in which its cosignature is sent or came."""
        await self._session.execute(
            sa.delete(AUDIT_WITNESSES).where(AUDIT_WITNESSES.c.peer == peer, AUDIT_WITNESSES.c.whose == whose)
        )
        await self._session.execute(
            sa.insert(AUDIT_WITNESSES).values(peer=str(peer), whose=whose, size=size, note=note)
        )

    def _first_head(self) -> sa.Insert:
        values = {"id": _HEAD_ROW, "size": 0, "peaks": b"", "last_time": 0}
        if self._session.get_bind().dialect.name == "sqlite":
            return sqlite.insert(AUDIT_HEAD).values(values).on_conflict_do_nothing()
        return postgresql.insert(AUDIT_HEAD).values(values).on_conflict_do_nothing()


def _entry(row: sa.Row[Any]) -> StoredEntry:
    return StoredEntry(row.seq, row.leaf, row.sealed, row.key_id)
