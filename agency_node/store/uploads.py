"""Uploads spooled until the broker has committed them, so that a resumed one sends the same bytes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.model import Upload
from agency_node.store.schema import UPLOAD_BATCHES, UPLOADS
from policies.ids import LinkageId
from protos.wire.linkage import UploadMode


class UploadRepository:
    """At most one upload is in work for each linkage."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def current(self, linkage_id: LinkageId) -> Upload | None:
        """The upload that is in work for a linkage."""
        row = (
            await self._session.execute(sa.select(UPLOADS).where(UPLOADS.c.linkage_id == linkage_id))
        ).one_or_none()
        return None if row is None else _upload(row)

    async def begin(self, upload: Upload) -> None:
        """Starts a spool."""
        await self._session.execute(
            sa.insert(UPLOADS).values(
                upload_id=upload.upload_id,
                linkage_id=str(upload.linkage_id),
                epoch=upload.epoch,
                schema_hash=upload.schema_hash,
                mode=upload.mode.value,
                row_count=upload.row_count,
                batch_count=upload.batch_count,
                sealed=upload.sealed,
            )
        )

    async def add_batch(self, upload_id: str, sequence: int, batch: bytes, digests: bytes) -> None:
        """Spools one batch as it will go over the wire, with the digests to note once it is committed."""
        await self._session.execute(
            sa.insert(UPLOAD_BATCHES).values(
                upload_id=upload_id, sequence=sequence, batch=batch, digests=digests
            )
        )

    async def seal(self, upload_id: str, row_count: int, batch_count: int) -> None:
        """The spool is complete: sending may begin."""
        await self._session.execute(
            sa.update(UPLOADS)
            .where(UPLOADS.c.upload_id == upload_id)
            .values(row_count=row_count, batch_count=batch_count, sealed=True)
        )

    async def batch(self, upload_id: str, sequence: int) -> bytes | None:
        """One spooled batch."""
        return await self._session.scalar(
            sa.select(UPLOAD_BATCHES.c.batch).where(
                UPLOAD_BATCHES.c.upload_id == upload_id, UPLOAD_BATCHES.c.sequence == sequence
            )
        )

    async def digests(self, upload_id: str, sequence: int) -> bytes | None:
        """The digests beside one spooled batch."""
        return await self._session.scalar(
            sa.select(UPLOAD_BATCHES.c.digests).where(
                UPLOAD_BATCHES.c.upload_id == upload_id, UPLOAD_BATCHES.c.sequence == sequence
            )
        )

    async def forget(self, upload_id: str) -> None:
        """Deletes a spool: it is committed, or of no use any more."""
        await self._session.execute(sa.delete(UPLOAD_BATCHES).where(UPLOAD_BATCHES.c.upload_id == upload_id))
        await self._session.execute(sa.delete(UPLOADS).where(UPLOADS.c.upload_id == upload_id))


def _upload(row: sa.Row[Any]) -> Upload:
    return Upload(
        upload_id=row.upload_id,
        linkage_id=LinkageId(row.linkage_id),
        epoch=row.epoch,
        schema_hash=row.schema_hash,
        mode=UploadMode(row.mode),
        row_count=row.row_count,
        batch_count=row.batch_count,
        sealed=row.sealed,
    )
