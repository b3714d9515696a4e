"""Encodings on their way in: announced, taken batch by batch, and made visible all at once.

Every batch is durable before it is acknowledged, and counted once however often it comes. An upload that
nobody goes on with is forgotten after a day, or when its agency begins too many others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.audit import AuditLog, Clock
from broker.catalogue import Catalogue
from broker.epochs import EpochService
from broker.linkages import Linkage
from broker.probing import Examination, ProbingWatch, suspected
from broker.rows import among, handles_of, repeated_rows, subject_count, withdrawn_handles
from broker.store.model import Hold, Segment, UploadRecord
from broker.store.ports import BrokerStore, Transaction
from broker.turnover import Turnover
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.linkage import (
    EncodingBatch,
    UploadMode,
    UploadStart,
    check_batch,
)

ABANDONED_AFTER = timedelta(hours=24)
_ID_LENGTH = range(16, 129)


@dataclass(frozen=True, slots=True)
class CommittedChange:
    """What a commit did to an agency's encodings; `touched` is None where all were replaced."""

    linkage: Linkage
    upload_id: str
    epoch: int
    agency: str
    touched: frozenset[bytes] | None
    withdrawn: frozenset[bytes]


#: Called within the transaction that withdraws subjects: their links end with it.
Withdraw = Callable[[Transaction, Linkage, str, frozenset[bytes]], Awaitable[None]]
#: Called after a commit became durable.
Committed = Callable[[CommittedChange], Awaitable[None]]


class UploadService:
    """Takes uploads."""

    def __init__(
        self,
        store: BrokerStore,
        catalogue: Catalogue,
        epochs: EpochService,
        probing: ProbingWatch,
        turnover: Turnover,
        audit: AuditLog,
        withdraw: Withdraw,
        committed: Committed,
        clock: Clock,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._epochs = epochs
        self._probing = probing
        self._turnover = turnover
        self._audit = audit
        self._withdraw = withdraw
        self._committed = committed
        self._clock = clock

    async def begin(self, agency: str, start: UploadStart) -> UploadRecord:
        """Begins an upload, or says how far the one with this id is.

        Raises:
            RefusedError: WRONG_EPOCH, EPOCH_NOT_OPEN, WRONG_SCHEMA, QUOTA_EXCEEDED, ACTING_FOR_ANOTHER.
        """
        if len(start.upload_id) not in _ID_LENGTH or not start.upload_id.isascii():
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "upload_id: 16 to 128 ASCII characters, random")
        linkage = self._catalogue.linkage_for(start.linkage_id, agency)
        async with self._store.write() as tx:
            await self._epochs.require_open(tx, linkage, start.epoch)
            if start.schema_hash != linkage.agreement.schema_hash:
                raise RefusedError(
                    ErrorCode.WRONG_SCHEMA,
                    f"linkage {linkage.id} has schema {linkage.agreement.schema_hash[:16]}...: encode by it",
                )
            most = linkage.population(agency) * LIMITS.rows_per_subject
            if start.row_count > most:
                raise RefusedError(
                    ErrorCode.QUOTA_EXCEEDED,
                    f"{start.row_count} rows announced; {agency} declared {linkage.population(agency)} "
                    f"subjects, which are at most {most} rows",
                )
            known = await tx.encodings.upload(start.upload_id)
            if known is not None:
                return _same_upload(known, agency, start)
            upload = UploadRecord(
                start.upload_id,
                agency,
                linkage.id,
                start.epoch,
                start.mode,
                start.row_count,
                self._clock(),
            )
            await self._turnover.make_room(tx, linkage, upload)
            await tx.encodings.put_upload(upload)
            return upload

    async def take(self, agency: str, upload_id: str, sequence: int, batch: EncodingBatch) -> None:
        """Stores one batch durably; one that is stored already changes nothing.

        Raises:
            RefusedError: UPLOAD_UNKNOWN, UPLOAD_OUT_OF_ORDER, TOO_LARGE, QUOTA_EXCEEDED, BATCH_INVALID,
                WRONG_LENGTH, WRONG_SCHEMA.
        """
        async with self._store.write() as tx:
            upload = await self._own_upload(tx, agency, upload_id)
            linkage = self._catalogue.linkage_for(upload.linkage, agency)
            layout = linkage.layout
            check_batch(batch, layout.shape)
            if batch.withdrawn and upload.mode is UploadMode.FULL:
                raise RefusedError(
                    ErrorCode.BATCH_INVALID, "a full upload withdraws what it leaves out; name no handles"
                )
            body, withdrawn = layout.pack(batch), b"".join(batch.withdrawn)
            digest = hashlib.sha256(len(body).to_bytes(8, "big") + body + withdrawn).hexdigest()
            if sequence < upload.next_sequence:
                await self._require_same(tx, upload, sequence, digest)
                return
            self._require_fits(upload, sequence, batch.rows)
            await self._epochs.require_open(tx, linkage, upload.epoch)
            further = replace(
                upload,
                next_sequence=sequence + 1,
                rows=upload.rows + batch.rows,
                withdrawn=upload.withdrawn + len(batch.withdrawn),
                touched=self._clock(),
            )
            if batch.withdrawn or not batch.rows:
                await self._turnover.require_bounded(tx, linkage, further)
            await tx.encodings.stage(
                upload, sequence, digest, Segment(0, agency, batch.rows, body, withdrawn)
            )
            await tx.encodings.put_upload(further)

    async def commit(self, agency: str, upload_id: str, batch_count: int, row_count: int) -> int:
        """Makes an upload visible to matching, all of it or nothing; returns the rows that the agency holds.

        Raises:
            RefusedError: UPLOAD_INCOMPLETE, QUOTA_EXCEEDED, BATCH_INVALID where a row comes twice;
                PROBING_SUSPECTED while the upload is held for an officer to look at.
        """
        while True:
            async with self._store.read() as tx:
                upload = await self._own_upload(tx, agency, upload_id)
            if upload.committed:
                return upload.rows_held
            linkage = self._catalogue.linkage_for(upload.linkage, agency)
            _require_complete(upload, batch_count, row_count)
            seen = await self._probing.examine(linkage, upload)
            async with self._store.write() as tx:
                upload = await self._own_upload(tx, agency, upload_id)
                if not upload.committed and not await self._probing.unchanged(tx, upload, seen):
                    continue  # another call came in between: look again at what there is now
                done = await self._commit(tx, linkage, upload, seen)
            if isinstance(done, Hold):
                raise suspected(done)
            change, rows_held = done
            if change is not None:
                await self._committed(change)
            return rows_held

    async def _commit(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord, seen: Examination
    ) -> Hold | tuple[CommittedChange | None, int]:
        if upload.committed:
            return None, upload.rows_held
        await self._epochs.require_open(tx, linkage, upload.epoch)
        await self._turnover.require(tx, linkage, upload)
        held_back = await self._probing.require_unsuspected(tx, linkage, upload, seen)
        if held_back is not None:
            return held_back
        change, rows_held = await self._make_live(tx, linkage, upload)
        self._probing.remember(linkage, upload, seen)
        await tx.encodings.bump(linkage.id, upload.epoch, upload.agency)
        await tx.encodings.put_upload(
            replace(upload, committed=True, rows_held=rows_held, touched=self._clock())
        )
        body: dict[str, JsonInput] = {
            "linkage": linkage.id,
            "epoch": upload.epoch,
            "mode": upload.mode.value,
            "rows": upload.rows,
            "withdrawn": len(change.withdrawn),
            "rows_held": rows_held,
        }
        await self._audit.append(
            tx, AuditAction.UPLOAD_COMMITTED, body, actor=upload.agency, policy=linkage.hash
        )
        return change, rows_held

    async def forget_abandoned(self) -> int:
        """Deletes uploads that nobody touched for a day; returns how many were not committed."""
        async with self._store.write() as tx:
            stale = await tx.encodings.stale_uploads(self._clock() - ABANDONED_AFTER)
            for upload in stale:
                await tx.encodings.delete_upload(upload.upload_id)
        return sum(not upload.committed for upload in stale)

    async def _make_live(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord
    ) -> tuple[CommittedChange, int]:
        layout = linkage.layout
        staged = await tx.encodings.staged(upload.upload_id)
        incoming = layout.records(staged)
        repeated = repeated_rows(incoming)
        if repeated:
            raise RefusedError(
                ErrorCode.BATCH_INVALID,
                f"{repeated} rows come twice (subject and row number); upload anew",
            )
        touched = withdrawn = frozenset[bytes]()
        if upload.mode is UploadMode.FULL:
            before = layout.records(await tx.encodings.live(linkage.id, upload.epoch, upload.agency))
            withdrawn = frozenset(handles_of(before) - handles_of(incoming))
            await tx.encodings.drop_live(linkage.id, upload.epoch, upload.agency)
        else:
            touched = frozenset(handles_of(incoming))
            withdrawn = frozenset(withdrawn_handles(staged))
            if touched & withdrawn:
                raise RefusedError(
                    ErrorCode.BATCH_INVALID, "a subject is changed and withdrawn in the same upload"
                )
            live = await tx.encodings.live(linkage.id, upload.epoch, upload.agency)
            await self._erase(tx, linkage, live, touched | withdrawn)
        if withdrawn:
            await self._erase_elsewhere(tx, linkage, upload, withdrawn)
            await self._withdraw(tx, linkage, upload.agency, withdrawn)
        await tx.encodings.promote(upload.upload_id)
        held = layout.records(await tx.encodings.live(linkage.id, upload.epoch, upload.agency))
        self._require_quota(linkage, upload.agency, subject_count(held))
        everything = upload.mode is UploadMode.FULL
        change = CommittedChange(
            linkage,
            upload.upload_id,
            upload.epoch,
            upload.agency,
            None if everything else touched | withdrawn,
            withdrawn,
        )
        return change, len(held)

    async def _erase_elsewhere(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord, withdrawn: frozenset[bytes]
    ) -> None:
        """Withdrawal is real deletion: from other epochs and from uploads under way too."""
        elsewhere = await tx.encodings.live_elsewhere(linkage.id, upload.epoch, upload.agency)
        await self._erase(tx, linkage, elsewhere, withdrawn)
        if upload.mode is UploadMode.DELTA:
            under_way = await tx.encodings.staged_of(linkage.id, upload.agency)
            await self._erase(tx, linkage, under_way, withdrawn)

    async def _erase(
        self, tx: Transaction, linkage: Linkage, segments: Sequence[Segment], handles: frozenset[bytes]
    ) -> None:
        if not handles:
            return
        width = linkage.layout.width
        for segment in segments:
            if len(segment.body) != segment.rows * width:
                # Encoded for an earlier agreement with another schema; deleted as a whole.
                await tx.encodings.replace_segment(replace(segment, rows=0, body=b""))
                continue
            records = linkage.layout.records([segment])
            gone = among(records, handles)
            if gone.any():
                kept = records[~gone]
                await tx.encodings.replace_segment(replace(segment, rows=len(kept), body=kept.tobytes()))

    async def _own_upload(self, tx: Transaction, agency: str, upload_id: str) -> UploadRecord:
        upload = await tx.encodings.upload(upload_id)
        if upload is None or upload.agency != agency:
            raise RefusedError(ErrorCode.UPLOAD_UNKNOWN, f"{agency} began no upload with this id; begin it")
        return upload

    async def _require_same(self, tx: Transaction, upload: UploadRecord, sequence: int, digest: str) -> None:
        held = await tx.encodings.staged_digest(upload.upload_id, sequence)
        if held is not None and held != digest:
            raise RefusedError(
                ErrorCode.BATCH_INVALID, f"batch {sequence} is held already, with other content; upload anew"
            )

    def _require_fits(self, upload: UploadRecord, sequence: int, rows: int) -> None:
        if upload.committed:
            raise RefusedError(ErrorCode.UPLOAD_OUT_OF_ORDER, "the upload is committed; begin another")
        if sequence != upload.next_sequence:
            raise RefusedError(
                ErrorCode.UPLOAD_OUT_OF_ORDER, f"batch {upload.next_sequence} comes next, not {sequence}"
            )
        if sequence >= LIMITS.batches_per_upload or upload.rows + rows > upload.row_count:
            raise RefusedError(
                ErrorCode.TOO_LARGE,
                f"{upload.row_count} rows were announced; batch {sequence} makes it {upload.rows + rows}",
            )

    def _require_quota(self, linkage: Linkage, agency: str, subjects: int) -> None:
        if subjects > linkage.population(agency):
            raise RefusedError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{subjects} subjects; {agency} declared {linkage.population(agency)} in the agreement",
            )


def _require_complete(upload: UploadRecord, batch_count: int, row_count: int) -> None:
    if (batch_count, row_count) != (upload.next_sequence, upload.rows):
        raise RefusedError(
            ErrorCode.UPLOAD_INCOMPLETE,
            f"the broker holds {upload.next_sequence} batches with {upload.rows} rows, "
            f"not {batch_count} with {row_count}; begin again to resume",
        )


def _same_upload(known: UploadRecord, agency: str, start: UploadStart) -> UploadRecord:
    if known.agency != agency:
        raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "the upload with this id belongs to another agency")
    said = (start.linkage_id, start.epoch, start.mode, start.row_count)
    if said != (known.linkage, known.epoch, known.mode, known.row_count):
        raise RefusedError(
            ErrorCode.INVALID_ARGUMENT, "this upload_id was used for another upload; choose a new one"
        )
    return known
