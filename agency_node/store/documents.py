"""Signed agreements and policies with their statements, events and status snapshots, as envelopes."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from agency_node.store.schema import DOCUMENT_PARTS, DOCUMENTS, STATUSES
from policies.ids import AgencyId
from protos.wire.documents import DocumentBundle, DocumentKind


class DocumentRepository:
    """Bundles by the hash of their document."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, document_hash: str, bundle: DocumentBundle, now: datetime) -> None:
        """Keeps a bundle; what was held under the same hash is replaced."""
        await self._session.execute(
            sa.delete(DOCUMENT_PARTS).where(DOCUMENT_PARTS.c.document_hash == document_hash)
        )
        await self._session.execute(sa.delete(DOCUMENTS).where(DOCUMENTS.c.document_hash == document_hash))
        await self._session.execute(
            sa.insert(DOCUMENTS).values(
                document_hash=document_hash, kind=bundle.kind.value, accepted=int(now.timestamp())
            )
        )
        parts = [("document", 0, bundle.document)]
        parts += [("statement", i, envelope) for i, envelope in enumerate(bundle.statements)]
        parts += [("event", i, envelope) for i, envelope in enumerate(bundle.events)]
        await self._session.execute(
            sa.insert(DOCUMENT_PARTS),
            [
                {"document_hash": document_hash, "part": part, "position": position, "envelope": envelope}
                for part, position, envelope in parts
            ],
        )

    async def get(self, document_hash: str) -> DocumentBundle | None:
        """One bundle."""
        kind = await self._session.scalar(
            sa.select(DOCUMENTS.c.kind).where(DOCUMENTS.c.document_hash == document_hash)
        )
        if kind is None:
            return None
        rows = await self._session.execute(
            sa.select(DOCUMENT_PARTS.c.part, DOCUMENT_PARTS.c.envelope)
            .where(DOCUMENT_PARTS.c.document_hash == document_hash)
            .order_by(DOCUMENT_PARTS.c.position)
        )
        parts: dict[str, list[bytes]] = {"document": [], "statement": [], "event": []}
        for part, envelope in rows:
            parts[part].append(envelope)
        return DocumentBundle(
            DocumentKind(kind), parts["document"][0], tuple(parts["statement"]), tuple(parts["event"])
        )

    async def hashes(self, kind: DocumentKind | None = None) -> tuple[str, ...]:
        """Hashes of all bundles held, of one kind or of both, in the order of acceptance."""
        query = sa.select(DOCUMENTS.c.document_hash).order_by(DOCUMENTS.c.accepted, DOCUMENTS.c.document_hash)
        if kind is not None:
            query = query.where(DOCUMENTS.c.kind == kind.value)
        return tuple(await self._session.scalars(query))

    async def status(self, provider: AgencyId) -> tuple[int, bytes] | None:
        """The newest status snapshot of one provider: its version and envelope."""
        row = (
            await self._session.execute(
                sa.select(STATUSES.c.version, STATUSES.c.envelope).where(STATUSES.c.provider == provider)
            )
        ).one_or_none()
        return None if row is None else (row.version, row.envelope)

    async def put_status(self, provider: AgencyId, version: int, envelope: bytes) -> None:
        """Keeps a newer status snapshot in place of the one held."""
        await self._session.execute(sa.delete(STATUSES).where(STATUSES.c.provider == provider))
        await self._session.execute(
            sa.insert(STATUSES).values(provider=str(provider), version=version, envelope=envelope)
        )
