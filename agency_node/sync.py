"""From the agency's own data to encodings at the broker: read, encode, spool, send, resume.

An upload is prepared completely in the node's own database before anything leaves, so that whoever resumes it
sends exactly the same bytes under the same upload id, and the broker counts every batch once. The first
upload of an epoch replaces everything; later ones send what changed, by a digest of each subject's rows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog

from agency_node.config import OnInvalidValue
from agency_node.documents import PolicyBook
from agency_node.encoding import EncodingKeys, EncodingReport, EncodingSection, encode_subjects
from agency_node.encoding.decoys import FEWEST_SUBJECTS, decoy_rng, make_decoys
from agency_node.key_service import KeyRing
from agency_node.mailbox import RegistryAt
from agency_node.mapping import SubjectRule, load_mapping
from agency_node.model import HandleEntry, Upload
from agency_node.pipeline import EncodingJob
from agency_node.ports import AuditSink, Clock, NodeIdentity
from agency_node.reading import Reading
from agency_node.sources import JoinedSource, ProblemLog, RawChunk, open_source
from agency_node.spool import BUCKETS, Records, RowLayout, RowSpool, SubjectRows, bucket_range
from agency_node.store.store import NodeStore, NodeTransaction
from agency_node.subjects import Subject, SubjectId, SubjectType
from agency_node.workers import ParallelEncoder
from crypto.audit import AuditAction
from crypto.canonical import JsonValue, canonical_json, parse_canonical
from policies.agreement import ExceptionKind, LinkageAgreement
from policies.agreement import SubjectType as AgreedSubjectType
from policies.ids import LinkageId
from policies.verified import VerifiedAgreement
from protos.wire.errors import ErrorCode, RefusedError, UnavailableError
from protos.wire.limits import LIMITS
from protos.wire.linkage import HANDLE_BYTES, Epoch, EpochState, UploadMode, UploadStart, batch_to_wire

_log = structlog.get_logger("sync")

SUBJECTS_AT_ONCE = 10_000
_DONORS = 5_000
_ATTEMPTS = 6
_DIGESTS_BYTES = 64 * 1024 * 1024
#: More missing subjects than this, in number and in share, stop an upload that was not asked to be full.
_MISSING_AT_LEAST, _MISSING_SHARE = 100, 0.2
#: Refusals after which the same spool can never be accepted.
_SPOOL_IS_USELESS = frozenset(
    {
        ErrorCode.WRONG_EPOCH,
        ErrorCode.WRONG_SCHEMA,
        ErrorCode.WRONG_LENGTH,
        ErrorCode.BATCH_INVALID,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.TOO_LARGE,
        ErrorCode.LINKAGE_UNKNOWN,
        ErrorCode.NOT_A_PARTICIPANT,
    }
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long task is. `total` is 0 while unknown; `counts` are counts by reason, never values.

    `problems` comes once, when the source was read: where it is malformed.
    """

    stage: str
    done: int
    total: int
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: ProblemLog | None = None


Report = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What the configuration says about uploads."""

    mapping: Path
    spool_dir: Path
    batch_rows: int
    decoys_percent: int
    on_invalid_value: OnInvalidValue


class UploadTarget(Protocol):
    """The broker, as uploads need it."""

    async def epoch(self, linkage_id: str) -> Epoch: ...

    async def begin_upload(self, start: UploadStart) -> tuple[int, bool]: ...

    def upload(
        self, upload_id: str, batches: AsyncIterator[tuple[int, bytes]]
    ) -> AsyncGenerator[int, None]: ...

    async def commit_upload(self, upload_id: str, batch_count: int, row_count: int) -> int: ...


class SyncService:
    """Uploads one linkage at a time."""

    def __init__(
        self,
        store: NodeStore,
        identity: NodeIdentity,
        registry_at: RegistryAt,
        book: PolicyBook,
        ring: KeyRing,
        audit: AuditSink,
        clock: Clock,
        settings: SyncSettings,
    ) -> None:
        self._store = store
        self._identity = identity
        self._registry_at = registry_at
        self._book = book
        self._ring = ring
        self._audit = audit
        self._clock = clock
        self._settings = settings
        self._busy = asyncio.Lock()

    async def sync(
        self, broker: UploadTarget, linkage_id: LinkageId, report: Report, *, full: bool = False
    ) -> Progress:
        """Brings the broker's encodings of this agency up to date; returns the final counts.

        `full` replaces everything, and says that subjects missing in the source are really gone. It also
        gives up an upload that the broker holds on suspicion; otherwise that one waits for its release.

        Raises:
            RefusedError: EPOCH_NOT_OPEN while the key is being agreed on; PROBING_SUSPECTED while an upload
                is held; EPOCH_WENT_BACK where the broker names an epoch that is over; what else the broker
                refuses.
            MappingError, SourceError: the agency's data cannot be read.
        """
        if self._busy.locked():
            raise RefusedError(ErrorCode.RATE_LIMITED, "another upload is being prepared; wait for it")
        async with self._busy:
            verified = await self._agreement(linkage_id)
            epoch = await self._open_epoch(broker, verified)
            try:
                await self._resume(broker, linkage_id, epoch, report)
            except RefusedError as refusal:
                if refusal.code is not ErrorCode.PROBING_SUSPECTED or not full:
                    raise
                await self._give_up(linkage_id)
            counts = await self._prepare(verified, epoch, report, full=full)
            await self._resume(broker, linkage_id, epoch, report)
            final = Progress("done", counts.get("rows_sent", 0), counts.get("rows_sent", 0), counts)
            await report(final)
            return final

    async def _give_up(self, linkage_id: LinkageId) -> None:
        async with self._store.transaction() as tx:
            upload = await tx.uploads.current(linkage_id)
            if upload is not None:
                await tx.uploads.forget(upload.upload_id)

    async def _agreement(self, linkage_id: LinkageId) -> VerifiedAgreement:
        now = self._clock()
        registry = self._registry_at(now)
        async with self._store.transaction() as tx:
            return await self._book.agreement(tx, linkage_id, registry, now)

    async def _open_epoch(self, broker: UploadTarget, verified: VerifiedAgreement) -> int:
        agreement = verified.agreement
        current = await broker.epoch(agreement.id)
        if current.agreement_hash != verified.hash:
            raise RefusedError(
                ErrorCode.EPOCH_NOT_OPEN,
                f"broker and node hold different agreements of {agreement.id}; try again in a minute",
            )
        async with self._store.transaction() as tx:
            await self._ring.require_not_over(tx, verified, current.epoch)
        if current.state is not EpochState.OPEN:
            waiting = sorted({str(agency) for agency in agreement.agencies} - set(current.confirmed_by))
            missing = f"; not confirmed yet by {', '.join(waiting)}" if waiting else ""
            raise RefusedError(
                ErrorCode.EPOCH_NOT_OPEN,
                f"epoch {current.epoch} of {agreement.id} is {current.state.value}{missing}",
            )
        return current.epoch

    # -- preparing

    async def _prepare(
        self, verified: VerifiedAgreement, epoch: int, report: Report, *, full: bool
    ) -> dict[str, int]:
        agreement = verified.agreement
        async with self._store.transaction() as tx:
            key = await self._ring.encoding_key(tx, verified, epoch)
            first = not await tx.handles.any_uploaded(agreement.id, epoch)
        mode = UploadMode.FULL if full or first else UploadMode.DELTA
        encoding = _Encoding.of(agreement, key, epoch, self._settings.on_invalid_value)
        upload = Upload(
            secrets.token_hex(16), agreement.id, epoch, agreement.schema_hash, mode, 0, 0, sealed=False
        )
        folder = self._settings.spool_dir / str(agreement.id)
        with RowSpool(folder, encoding.layout) as spool:
            reading = await self._read(encoding, spool, report, decoys=mode is UploadMode.FULL)
            counts = reading.counts()
            async with self._store.transaction() as tx:
                await tx.uploads.begin(upload)
            writer = _SpoolWriter(self._store, upload, encoding.layout, self._settings.batch_rows)
            try:
                await self._compare(spool, writer, counts, None if full else reading)
                await writer.seal()
            except BaseException:
                await asyncio.shield(self._forget(upload.upload_id))
                raise
        counts["rows_sent"], counts["subjects_withdrawn"] = writer.rows, writer.withdrawn
        return counts

    async def _read(self, encoding: _Encoding, spool: RowSpool, report: Report, *, decoys: bool) -> Reading:
        """Reads and encodes everything, off the event loop, on one thread of its own."""
        donors: list[Subject] = []
        with ThreadPoolExecutor(1, "tallystick-source") as thread:
            run = asyncio.get_running_loop().run_in_executor
            source = await run(thread, self._open_source)
            reading = Reading(source, encoding.subject_type)
            rule = source.mapping.subject_rule(encoding.subject_type)
            encoder = ParallelEncoder(encoding.job(rule, source)) if rule else None
            try:
                chunks = source.raw_chunks(encoding.subject_type, chunk=SUBJECTS_AT_ONCE)
                while encoder and (chunk := await run(thread, _next, chunks)) is not None:
                    handles = await self._handles(
                        encoding.linkage_id, [SubjectId(id_) for id_ in chunk.subjects]
                    )
                    # the first chunk gives enough of them, if there are so many at all
                    wanted = _DONORS if not donors else 0
                    done = await run(thread, encoder.submit, chunk, handles, wanted)
                    donors += await run(thread, reading.absorb, done, spool)
                    await report(Progress("read", reading.encoded.subjects, 0))
                if encoder:
                    donors += await run(thread, reading.absorb, await run(thread, encoder.finish), spool)
                subjects = reading.encoded.subjects
                await report(Progress("read", subjects, subjects, reading.counts(), reading.problems))
                if decoys and self._settings.decoys_percent and len(donors) >= FEWEST_SUBJECTS:
                    wanted = subjects * self._settings.decoys_percent // 100
                    made = await run(
                        thread, _decoys, donors, wanted, encoding.keys, str(self._identity.agency)
                    )
                    ids = [subject.subject_id for subject in made]
                    handles = await self._handles(encoding.linkage_id, ids, decoys=True)
                    await run(thread, encoding.encode_into, spool, made, handles)
            finally:
                if encoder:
                    encoder.close()  # at once, which also ends a wait for a helper
                    await run(thread, encoder.close)  # and whatever that thread had just begun
                await run(thread, source.close)
        return reading

    def _open_source(self) -> JoinedSource:
        mapping = load_mapping(self._settings.mapping)
        return open_source(mapping, today=self._clock().date(), work_folder=self._settings.spool_dir)

    async def _handles(
        self, linkage_id: LinkageId, ids: list[SubjectId], *, decoys: bool = False
    ) -> dict[SubjectId, bytes]:
        """The subjects' handles; a subject that has none yet gets 16 random bytes, which it keeps."""
        async with self._store.transaction() as tx:
            known = await tx.handles.of_subjects(linkage_id, ids)
            fresh = {
                subject_id: secrets.token_bytes(HANDLE_BYTES) for subject_id in ids if subject_id not in known
            }
            await tx.handles.add(linkage_id, fresh, decoys=decoys)
        return {subject_id: entry.handle for subject_id, entry in known.items()} | fresh

    async def _compare(
        self, spool: RowSpool, writer: _SpoolWriter, counts: dict[str, int], reading: Reading | None
    ) -> None:
        """Spools what the broker lacks, and notes what it must lose.

        Without a `reading` to go by, whoever is not in the spool is gone.
        """
        upload = writer.upload
        delta = upload.mode is UploadMode.DELTA
        changed = missing = held = kept = 0
        for bucket in range(BUCKETS):
            low, high = bucket_range(bucket)
            async with self._store.transaction() as tx:
                known = await tx.handles.in_range(upload.linkage_id, low, high)
            held += sum(entry.digest is not None and not entry.decoy for entry in known.values())
            for subject in await asyncio.to_thread(list, spool.subjects(bucket)):
                entry = known.pop(subject.handle, None)
                if not (delta and _same(entry, subject, upload.epoch)):
                    changed += 1
                    await writer.add(subject)
            for entry in known.values():
                if entry.decoy and delta:
                    continue  # decoys stay as they are for the life of an epoch
                if reading and not entry.decoy and reading.may_hold(entry.handle):
                    kept += entry.digest is not None
                    continue
                missing += entry.digest is not None and not entry.decoy
                at_broker = delta and entry.digest is not None and entry.epoch == upload.epoch
                await writer.withdraw(entry.handle, at_broker=at_broker)
                writer.withdrawn += entry.digest is not None and not entry.decoy
        counts["subjects_changed"], counts["subjects_kept"] = changed, kept
        if kept:
            _log.warning("subjects kept", linkage=str(upload.linkage_id), subjects=kept)
        if reading and missing >= _MISSING_AT_LEAST and missing > _MISSING_SHARE * held:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT,
                f"{missing} of {held} subjects are missing from the source; if they are really gone, "
                "upload with --full",
            )

    # -- sending

    async def _resume(self, broker: UploadTarget, linkage_id: LinkageId, epoch: int, report: Report) -> None:
        """Sends the spooled upload, if there is one that still fits; a spool that was never sealed goes.

        Reading and encoding may have taken hours, so agreement and epoch are looked at again.
        """
        verified = await self._agreement(linkage_id)
        async with self._store.transaction() as tx:
            if await tx.epochs.highest(linkage_id) > epoch:
                raise RefusedError(ErrorCode.WRONG_EPOCH, f"epoch {epoch} ended meanwhile; upload again")
            await self._ring.encoding_key(tx, verified, epoch)
            upload = await tx.uploads.current(linkage_id)
            if upload is None:
                return
            schema_hash = verified.agreement.schema_hash
            fits = upload.sealed and upload.epoch == epoch and upload.schema_hash == schema_hash
            if not fits or upload.batch_count == 0:
                await tx.uploads.forget(upload.upload_id)
                return
        try:
            rows_held = await self._send_with_retries(broker, upload, report)
        except RefusedError as refusal:
            if refusal.code in _SPOOL_IS_USELESS:
                await self._forget(upload.upload_id)
            raise
        await self._finish(upload, verified, rows_held)

    async def _send_with_retries(self, broker: UploadTarget, upload: Upload, report: Report) -> int:
        for attempt in range(_ATTEMPTS):
            try:
                return await self._send(broker, upload, report)
            except UnavailableError:
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(min(10.0, 0.25 * 2**attempt))
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, broker: UploadTarget, upload: Upload, report: Report) -> int:
        start = UploadStart(
            str(upload.linkage_id),
            upload.epoch,
            upload.schema_hash,
            upload.upload_id,
            upload.mode,
            upload.row_count,
        )
        next_sequence, committed = await broker.begin_upload(start)
        total = upload.batch_count
        if not committed and next_sequence < total:
            await report(Progress("send", next_sequence, total))
            batches = self._batches(upload, next_sequence)
            async with aclosing(broker.upload(upload.upload_id, batches)) as acknowledged:
                async for sequence in acknowledged:
                    await report(Progress("send", sequence + 1, total))
        return await broker.commit_upload(upload.upload_id, total, upload.row_count)

    async def _batches(self, upload: Upload, first: int) -> AsyncIterator[tuple[int, bytes]]:
        for sequence in range(first, upload.batch_count):
            async with self._store.transaction() as tx:
                batch = await tx.uploads.batch(upload.upload_id, sequence)
            if batch is None:
                raise AssertionError("a sealed spool has every batch")
            yield sequence, batch

    async def _finish(self, upload: Upload, verified: VerifiedAgreement, rows_held: int) -> None:
        """The broker has committed: what was sent becomes what is known to be held there."""
        async with self._store.transaction() as tx:
            for sequence in range(upload.batch_count):
                await _note_batch(tx, upload, sequence)
            await tx.uploads.forget(upload.upload_id)
            # The last epoch's key still serves requests that are under way.
            await tx.epochs.forget_before(upload.linkage_id, upload.epoch - 1)
            await self._audit.append(
                tx,
                AuditAction.UPLOAD_COMMITTED,
                actor=str(self._identity.agency),
                policy=verified.hash,
                body={
                    "linkage": str(upload.linkage_id),
                    "epoch": upload.epoch,
                    "mode": upload.mode.value,
                    "rows": upload.row_count,
                    "rows_held": rows_held,
                },
            )
        _log.info("upload committed", linkage=str(upload.linkage_id), rows=upload.row_count, held=rows_held)

    async def _forget(self, upload_id: str) -> None:
        async with self._store.transaction() as tx:
            await tx.uploads.forget(upload_id)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How one linkage's subjects are encoded in one epoch."""

    linkage_id: LinkageId
    subject_type: SubjectType
    section: EncodingSection
    keys: EncodingKeys
    layout: RowLayout
    on_invalid: OnInvalidValue

    @classmethod
    def of(cls, agreement: LinkageAgreement, key: bytes, epoch: int, on_invalid: OnInvalidValue) -> _Encoding:
        section_json = agreement.encoding_json()
        narrow = [
            str(item.projection)
            for item in agreement.exceptions
            if item.kind is ExceptionKind.NARROW_PROJECTION and item.projection is not None
        ]
        section = EncodingSection.from_json(section_json, narrow)
        widths = tuple((item.name, _clk_bytes(item.schema)) for item in section.projections)
        return cls(
            agreement.id,
            "person" if agreement.subject_type is AgreedSubjectType.PERSON else "place",
            section,
            EncodingKeys.derive(key, agreement.id, epoch, section_json),
            RowLayout(widths, tuple(item.name for item in section.exact_tokens)),
            on_invalid,
        )

    def job(self, rule: SubjectRule, source: JoinedSource) -> EncodingJob:
        """What a process of its own needs to encode rows of this linkage."""
        return EncodingJob(
            rule,
            source.mapping.rules,
            source.today,
            self.section,
            self.keys,
            self.on_invalid,
            LIMITS.rows_per_subject,
        )

    def encode_into(
        self,
        spool: RowSpool,
        subjects: list[Subject],
        handles: Mapping[SubjectId, bytes],
    ) -> None:
        """Encodes subjects and adds their rows to the spool."""
        for rows in encode_subjects(
            self.section, subjects, self.keys, handles, EncodingReport(), on_invalid=self.on_invalid
        ):
            spool.add(rows)


class _SpoolWriter:
    """Cuts subjects into batches; a subject's rows stay in one batch."""

    def __init__(self, store: NodeStore, upload: Upload, layout: RowLayout, batch_rows: int) -> None:
        self.upload = upload
        self.rows = 0
        self.withdrawn = 0
        self._store = store
        self._layout = layout
        self._batch_rows = batch_rows
        self._pending: list[SubjectRows] = []
        self._pending_rows = 0
        self._withdrawn: list[bytes] = []
        self._gone: list[bytes] = []
        self._sequence = 0

    async def add(self, subject: SubjectRows) -> None:
        if self._pending_rows + len(subject.records) > self._batch_rows:
            await self._flush()
        self._pending.append(subject)
        self._pending_rows += len(subject.records)

    async def withdraw(self, handle: bytes, *, at_broker: bool) -> None:
        """A subject is gone from the source: forget it, and tell the broker if it holds it in this epoch."""
        self._gone.append(handle)
        if at_broker:
            self._withdrawn.append(handle)
        if len(self._gone) >= self._batch_rows:
            await self._flush()

    async def seal(self) -> None:
        await self._flush()
        async with self._store.transaction() as tx:
            await tx.uploads.seal(self.upload.upload_id, self.rows, self._sequence)

    async def _flush(self) -> None:
        if not (self._pending or self._gone):
            return
        records: Records = (
            np.concatenate([subject.records for subject in self._pending])
            if self._pending
            else np.zeros((0, self._layout.width), np.uint8)
        )
        batch = batch_to_wire(self._layout.batch(records, tuple(self._withdrawn))).SerializeToString()
        held: dict[str, JsonValue] = {item.handle.hex(): item.digest.hex() for item in self._pending}
        gone: list[JsonValue] = [handle.hex() for handle in self._gone]
        digests = canonical_json({"held": held, "gone": gone})
        async with self._store.transaction() as tx:
            await tx.uploads.add_batch(self.upload.upload_id, self._sequence, batch, digests)
        self.rows += len(records)
        self._sequence += 1
        self._pending, self._withdrawn, self._gone, self._pending_rows = [], [], [], 0


async def _note_batch(tx: NodeTransaction, upload: Upload, sequence: int) -> None:
    data = await tx.uploads.digests(upload.upload_id, sequence)
    value = parse_canonical(data or b"", max_bytes=_DIGESTS_BYTES)
    assert isinstance(value, dict)  # written by `_SpoolWriter._flush`
    held, gone = value["held"], value["gone"]
    assert isinstance(held, dict)
    assert isinstance(gone, list)
    digests = {bytes.fromhex(handle): bytes.fromhex(str(digest)) for handle, digest in held.items()}
    await tx.handles.mark_uploaded(upload.linkage_id, upload.epoch, digests)
    await tx.handles.forget(upload.linkage_id, [bytes.fromhex(str(handle)) for handle in gone])


def _next(chunks: Iterator[RawChunk]) -> RawChunk | None:
    return next(chunks, None)


def _decoys(donors: list[Subject], count: int, keys: EncodingKeys, agency: str) -> list[Subject]:
    """Made-up subjects under ids that no agency's own numbers have."""
    made = make_decoys(donors, count, decoy_rng(keys, agency)) if count else []
    return [
        replace(subject, subject_id=SubjectId(f"tallystick:decoy:{number}"))
        for number, subject in enumerate(made)
    ]


def _same(entry: HandleEntry | None, subject: SubjectRows, epoch: int) -> bool:
    return entry is not None and entry.epoch == epoch and entry.digest == subject.digest


def _clk_bytes(schema: Mapping[str, object]) -> int:
    config = schema["clkConfig"]
    assert isinstance(config, dict)  # EncodingSection has checked the schema
    return int(config["l"]) // 8
