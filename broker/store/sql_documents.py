"""Trust, documents and epochs in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Row, delete, func, insert, select

from broker.store.model import Confirmation, EpochRecord, StoredDocument, StoredStatus
from broker.store.sql_support import SqlRole, moment, seconds
from broker.store.tables import (
    confirmations,
    document_parties,
    document_parts,
    documents,
    epochs,
    registries,
    roots,
    statuses,
)
from protos.wire.documents import DocumentKind
from protos.wire.linkage import EpochState


class SqlTrust(SqlRole):
    """`TrustStore`."""

    async def roots(self) -> tuple[tuple[int, bytes], ...]:
        """See `TrustStore.roots`."""
        rows = await self._c.execute(select(roots.c.version, roots.c.envelope).order_by(roots.c.version))
        return tuple((version, envelope) for version, envelope in rows)

    async def add_root(self, version: int, envelope: bytes) -> None:
        """See `TrustStore.add_root`."""
        await self._c.execute(insert(roots).values(version=version, envelope=envelope))

    async def registry(self) -> tuple[int, bytes] | None:
        """See `TrustStore.registry`."""
        row = (await self._c.execute(select(registries.c.version, registries.c.envelope))).one_or_none()
        return None if row is None else (row.version, row.envelope)

    async def put_registry(self, version: int, envelope: bytes) -> None:
        """See `TrustStore.put_registry`."""
        await self._c.execute(delete(registries))
        await self._c.execute(insert(registries).values(version=version, envelope=envelope))


class SqlDocuments(SqlRole):
    """`DocumentStore`."""

    async def get(self, document_hash: str) -> StoredDocument | None:
        """See `DocumentStore.get`."""
        row = (
            await self._c.execute(select(documents).where(documents.c.hash == document_hash))
        ).one_or_none()
        return None if row is None else await self._whole(row)

    async def add(self, document: StoredDocument) -> None:
        """See `DocumentStore.add`."""
        await self._c.execute(
            insert(documents).values(
                hash=document.hash,
                kind=document.kind.value,
                subject=document.subject,
                version=document.version,
                document=document.document,
            )
        )
        parties = [
            {"hash": document.hash, "position": position, "agency": agency}
            for position, agency in enumerate(document.parties)
        ]
        parts = [
            {"hash": document.hash, "event": event, "position": position, "envelope": envelope}
            for event, envelopes in ((False, document.statements), (True, document.events))
            for position, envelope in enumerate(envelopes)
        ]
        if parties:
            await self._c.execute(insert(document_parties), parties)
        if parts:
            await self._c.execute(insert(document_parts), parts)

    async def add_event(self, document_hash: str, event: bytes) -> None:
        """See `DocumentStore.add_event`."""
        held = await self._c.scalar(
            select(func.count())
            .select_from(document_parts)
            .where(document_parts.c.hash == document_hash, document_parts.c.event.is_(True))
        )
        await self._c.execute(
            insert(document_parts).values(hash=document_hash, event=True, position=held or 0, envelope=event)
        )

    async def listed(
        self, *, kind: DocumentKind | None = None, party: str | None = None, subject: str | None = None
    ) -> tuple[StoredDocument, ...]:
        """See `DocumentStore.listed`."""
        query = select(documents)
        if kind is not None:
            query = query.where(documents.c.kind == kind.value)
        if subject is not None:
            query = query.where(documents.c.subject == subject)
        if party is not None:
            mine = select(document_parties.c.hash).where(document_parties.c.agency == party)
            query = query.where(documents.c.hash.in_(mine))
        order = (documents.c.kind, documents.c.subject, documents.c.version, documents.c.hash)
        rows = (await self._c.execute(query.order_by(*order))).all()
        return tuple([await self._whole(row) for row in rows])

    async def statuses(self, policy_hash: str) -> tuple[StoredStatus, ...]:
        """See `DocumentStore.statuses`."""
        rows = await self._c.execute(
            select(statuses).where(statuses.c.policy_hash == policy_hash).order_by(statuses.c.provider)
        )
        return tuple(StoredStatus(row.policy_hash, row.provider, row.version, row.envelope) for row in rows)

    async def put_status(self, status: StoredStatus) -> None:
        """See `DocumentStore.put_status`."""
        await self._upsert(
            statuses,
            [
                {
                    "policy_hash": status.policy_hash,
                    "provider": status.provider,
                    "version": status.version,
                    "envelope": status.envelope,
                }
            ],
        )

    async def _whole(self, row: Row[tuple[object, ...]]) -> StoredDocument:
        parties = await self._c.scalars(
            select(document_parties.c.agency)
            .where(document_parties.c.hash == row.hash)
            .order_by(document_parties.c.position)
        )
        parts = (
            await self._c.execute(
                select(document_parts.c.event, document_parts.c.envelope)
                .where(document_parts.c.hash == row.hash)
                .order_by(document_parts.c.position)
            )
        ).all()
        return StoredDocument(
            hash=row.hash,
            kind=DocumentKind(row.kind),
            subject=row.subject,
            version=row.version,
            parties=tuple(parties),
            document=row.document,
            statements=tuple(part.envelope for part in parts if not part.event),
            events=tuple(part.envelope for part in parts if part.event),
        )


class SqlEpochs(SqlRole):
    """`EpochStore`."""

    async def current(self, linkage: str) -> EpochRecord | None:
        """See `EpochStore.current`."""
        newest = select(epochs).where(epochs.c.linkage == linkage).order_by(epochs.c.epoch.desc()).limit(1)
        row = (await self._c.execute(newest)).one_or_none()
        return None if row is None else _epoch(row)

    async def opened_since(self, linkage: str, since: datetime) -> tuple[EpochRecord, ...]:
        """See `EpochStore.opened_since`."""
        found = select(epochs).where(epochs.c.linkage == linkage, epochs.c.created > seconds(since))
        return tuple(_epoch(row) for row in await self._c.execute(found.order_by(epochs.c.epoch)))

    async def put(self, epoch: EpochRecord) -> None:
        """See `EpochStore.put`."""
        await self._upsert(
            epochs,
            [
                {
                    "linkage": epoch.linkage,
                    "epoch": epoch.epoch,
                    "state": epoch.state.value,
                    "agreement_hash": epoch.agreement_hash,
                    "schema_hash": epoch.schema_hash,
                    "created": seconds(epoch.created),
                    "opened_by": epoch.opened_by,
                    "reason": epoch.reason,
                }
            ],
        )

    async def confirmations(self, linkage: str, epoch: int) -> tuple[Confirmation, ...]:
        """See `EpochStore.confirmations`."""
        rows = await self._c.execute(
            select(confirmations)
            .where(confirmations.c.linkage == linkage, confirmations.c.epoch == epoch)
            .order_by(confirmations.c.agency)
        )
        return tuple(Confirmation(row.agency, row.transcript_hash, row.confirmation) for row in rows)

    async def add_confirmation(self, linkage: str, epoch: int, confirmation: Confirmation) -> None:
        """See `EpochStore.add_confirmation`."""
        await self._c.execute(
            insert(confirmations).values(
                linkage=linkage,
                epoch=epoch,
                agency=confirmation.agency,
                transcript_hash=confirmation.transcript_hash,
                confirmation=confirmation.confirmation,
            )
        )


def _epoch(row: Row[tuple[object, ...]]) -> EpochRecord:
    return EpochRecord(
        row.linkage,
        row.epoch,
        EpochState(row.state),
        row.agreement_hash,
        row.schema_hash,
        moment(row.created),
        row.opened_by,
        row.reason,
    )
