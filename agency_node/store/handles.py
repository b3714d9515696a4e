"""Opaque handles: which of this agency's subjects each one stands for. Nobody else ever knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import HandleEntry
from agency_node.store.schema import HANDLES
from agency_node.subjects import SubjectId
from policies.ids import LinkageId
from protos.wire.databases import chunks


class HandleRepository:
    """Handles by linkage; they stay the same over epochs, so that tokens stay stable."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_subjects(
        self, linkage_id: LinkageId, subject_ids: Sequence[SubjectId]
    ) -> dict[SubjectId, HandleEntry]:
        """The entries of those subjects that have one."""
        found: dict[SubjectId, HandleEntry] = {}
        for part in chunks(subject_ids):
            rows = await self._session.execute(
                sa.select(HANDLES).where(
                    HANDLES.c.linkage_id == linkage_id,
                    HANDLES.c.subject_id.in_(part),
                )
            )
            for row in rows:
                subject_id = SubjectId(row.subject_id)
                found[subject_id] = HandleEntry(subject_id, row.handle, row.digest, row.epoch, row.decoy)
        return found

    async def add(
        self, linkage_id: LinkageId, handles: Mapping[SubjectId, bytes], *, decoys: bool = False
    ) -> None:
        """Gives subjects their handles."""
        if handles:
            await self._session.execute(
                sa.insert(HANDLES),
                [
                    {
                        "linkage_id": str(linkage_id),
                        "subject_id": str(subject_id),
                        "handle": handle,
                        "digest": None,
                        "epoch": 0,
                        "decoy": decoys,
                    }
                    for subject_id, handle in handles.items()
                ],
            )

    async def mark_uploaded(self, linkage_id: LinkageId, epoch: int, digests: Mapping[bytes, bytes]) -> None:
        """Notes, by handle, the digest of what the broker now holds."""
        if digests:
            statement = (
                sa.update(HANDLES)
                .where(
                    HANDLES.c.linkage_id == sa.bindparam("of_linkage"),
                    HANDLES.c.handle == sa.bindparam("of_handle"),
                )
                .values(digest=sa.bindparam("new_digest"), epoch=sa.bindparam("new_epoch"))
            )
            connection = await self._session.connection()
            await connection.execute(
                statement,
                [
                    {
                        "of_linkage": str(linkage_id),
                        "of_handle": handle,
                        "new_digest": digest,
                        "new_epoch": epoch,
                    }
                    for handle, digest in digests.items()
                ],
            )

    async def subject_of(self, linkage_id: LinkageId, handle: bytes) -> SubjectId | None:
        """The subject for which a handle stands; None for an unknown handle or a decoy."""
        value = await self._session.scalar(
            sa.select(HANDLES.c.subject_id).where(
                HANDLES.c.linkage_id == linkage_id, HANDLES.c.handle == handle, HANDLES.c.decoy.is_(False)
            )
        )
        return None if value is None else SubjectId(value)

    async def by_handles(
        self, linkage_id: LinkageId, handles: Collection[bytes]
    ) -> dict[bytes, SubjectId | None]:
        """For each handle that is known, its subject; None for a decoy."""
        found: dict[bytes, SubjectId | None] = {}
        for part in chunks(handles):
            rows = await self._session.execute(
                sa.select(HANDLES.c.handle, HANDLES.c.subject_id, HANDLES.c.decoy).where(
                    HANDLES.c.linkage_id == linkage_id, HANDLES.c.handle.in_(part)
                )
            )
            for row in rows:
                found[row.handle] = None if row.decoy else SubjectId(row.subject_id)
        return found

    async def any_uploaded(self, linkage_id: LinkageId, epoch: int) -> bool:
        """Whether the broker holds anything of this agency in this epoch."""
        value = await self._session.scalar(
            sa.select(HANDLES.c.handle)
            .where(
                HANDLES.c.linkage_id == linkage_id, HANDLES.c.epoch == epoch, HANDLES.c.digest.is_not(None)
            )
            .limit(1)
        )
        return value is not None

    async def of_subject(self, subject_id: SubjectId) -> tuple[tuple[LinkageId, bytes], ...]:
        """A subject's handle in every linkage that has one."""
        rows = await self._session.execute(
            sa.select(HANDLES.c.linkage_id, HANDLES.c.handle)
            .where(HANDLES.c.subject_id == subject_id, HANDLES.c.decoy.is_(False))
            .order_by(HANDLES.c.linkage_id)
        )
        return tuple((LinkageId(row.linkage_id), row.handle) for row in rows)

    async def in_range(
        self, linkage_id: LinkageId, low: bytes, high: bytes | None
    ) -> dict[bytes, HandleEntry]:
        """The entries, decoys too, whose handle is at least `low` and below `high`, by handle."""
        query = sa.select(HANDLES).where(HANDLES.c.linkage_id == linkage_id, HANDLES.c.handle >= low)
        if high is not None:
            query = query.where(HANDLES.c.handle < high)
        return {
            row.handle: HandleEntry(SubjectId(row.subject_id), row.handle, row.digest, row.epoch, row.decoy)
            for row in await self._session.execute(query)
        }

    async def is_decoy(self, linkage_id: LinkageId, handle: bytes) -> bool:
        """Whether a handle is a decoy's: a question about it betrays probing."""
        value = await self._session.scalar(
            sa.select(HANDLES.c.decoy).where(HANDLES.c.linkage_id == linkage_id, HANDLES.c.handle == handle)
        )
        return bool(value)

    async def count(self, linkage_id: LinkageId) -> int:
        """How many subjects have been uploaded, decoys left out."""
        value = await self._session.scalar(
            sa.select(sa.func.count())
            .select_from(HANDLES)
            .where(
                HANDLES.c.linkage_id == linkage_id,
                HANDLES.c.digest.is_not(None),
                HANDLES.c.decoy.is_(False),
            )
        )
        return int(value or 0)

    async def forget(self, linkage_id: LinkageId, handles: Iterable[bytes]) -> None:
        """Deletes withdrawn subjects' entries."""
        for part in chunks(handles):
            await self._session.execute(
                sa.delete(HANDLES).where(
                    HANDLES.c.linkage_id == linkage_id,
                    HANDLES.c.handle.in_(part),
                )
            )
