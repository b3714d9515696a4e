"""The store in memory, for tests and trials: nothing survives the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from broker.store.model import (
    Confirmation,
    Envelope,
    EpochRecord,
    Hold,
    LogNode,
    MailboxLoad,
    MatchedPair,
    MatchRate,
    NewEvent,
    RunRecord,
    Segment,
    StoredDocument,
    StoredStatus,
    Subject,
    TokenRecord,
    UploadRecord,
)
from protos.wire.documents import DocumentKind
from protos.wire.linkage import LinkEvent, LinkEventKind


@dataclass(frozen=True, slots=True)
class _Batch:
    """A segment with where it belongs; staged until its upload is committed."""

    linkage: str
    epoch: int
    upload_id: str
    sequence: int
    digest: str
    live: bool
    segment: Segment


@dataclass(slots=True)
class _State:
    """All tables. Values are frozen, so that a shallow copy of each table is a snapshot."""

    roots: dict[int, bytes] = field(default_factory=dict)
    registries: dict[int, bytes] = field(default_factory=dict)
    documents: dict[str, StoredDocument] = field(default_factory=dict)
    statuses: dict[tuple[str, str], StoredStatus] = field(default_factory=dict)
    epochs: dict[tuple[str, int], EpochRecord] = field(default_factory=dict)
    confirmations: dict[tuple[str, int, str], Confirmation] = field(default_factory=dict)
    uploads: dict[str, UploadRecord] = field(default_factory=dict)
    batches: dict[int, _Batch] = field(default_factory=dict)
    versions: dict[tuple[str, int, str], int] = field(default_factory=dict)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    pairs: dict[tuple[str, Subject, Subject], MatchedPair] = field(default_factory=dict)
    tokens: dict[bytes, TokenRecord] = field(default_factory=dict)
    events: dict[tuple[str, str, int], LinkEvent] = field(default_factory=dict)
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    rates: dict[tuple[str, str, str], MatchRate] = field(default_factory=dict)
    mail: dict[int, tuple[str, Envelope]] = field(default_factory=dict)
    seen: dict[tuple[str, str], tuple[str, datetime]] = field(default_factory=dict)
    leaves: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    checkpoints: dict[int, bytes] = field(default_factory=dict)
    serials: dict[str, int] = field(default_factory=dict)

    def snapshot(self) -> _State:
        return _State(**{item.name: copy(getattr(self, item.name)) for item in fields(self)})

    def next_serial(self, name: str) -> int:
        self.serials[name] = self.serials.get(name, 0) + 1
        return self.serials[name]


class _Role:
    def __init__(self, state: _State) -> None:
        self._s = state


class _Trust(_Role):
    async def roots(self) -> tuple[tuple[int, bytes], ...]:
        return tuple(sorted(self._s.roots.items()))

    async def add_root(self, version: int, envelope: bytes) -> None:
        self._s.roots[version] = envelope

    async def registry(self) -> tuple[int, bytes] | None:
        return max(self._s.registries.items(), default=None)

    async def put_registry(self, version: int, envelope: bytes) -> None:
        self._s.registries = {version: envelope}


class _Documents(_Role):
    async def get(self, document_hash: str) -> StoredDocument | None:
        return self._s.documents.get(document_hash)

    async def add(self, document: StoredDocument) -> None:
        self._s.documents[document.hash] = document

    async def add_event(self, document_hash: str, event: bytes) -> None:
        document = self._s.documents[document_hash]
        self._s.documents[document_hash] = replace(document, events=(*document.events, event))

    async def listed(
        self, *, kind: DocumentKind | None = None, party: str | None = None, subject: str | None = None
    ) -> tuple[StoredDocument, ...]:
        found = (
            item
            for item in self._s.documents.values()
            if (kind is None or item.kind is kind)
            and (party is None or party in item.parties)
            and (subject is None or item.subject == subject)
        )
        return tuple(sorted(found, key=lambda item: (item.kind, item.subject, item.version, item.hash)))

    async def statuses(self, policy_hash: str) -> tuple[StoredStatus, ...]:
        return tuple(
            status for (policy, _), status in sorted(self._s.statuses.items()) if policy == policy_hash
        )

    async def put_status(self, status: StoredStatus) -> None:
        self._s.statuses[status.policy_hash, status.provider] = status


class _Epochs(_Role):
    async def current(self, linkage: str) -> EpochRecord | None:
        found = [item for (name, _), item in self._s.epochs.items() if name == linkage]
        return max(found, key=lambda item: item.epoch, default=None)

    async def opened_since(self, linkage: str, since: datetime) -> tuple[EpochRecord, ...]:
        found = [item for item in self._s.epochs.values() if item.linkage == linkage and item.created > since]
        return tuple(sorted(found, key=lambda item: item.epoch))

    async def put(self, epoch: EpochRecord) -> None:
        self._s.epochs[epoch.linkage, epoch.epoch] = epoch

    async def confirmations(self, linkage: str, epoch: int) -> tuple[Confirmation, ...]:
        return tuple(
            item for key, item in sorted(self._s.confirmations.items()) if key[:2] == (linkage, epoch)
        )

    async def add_confirmation(self, linkage: str, epoch: int, confirmation: Confirmation) -> None:
        self._s.confirmations[linkage, epoch, confirmation.agency] = confirmation


class _Encodings(_Role):
    async def upload(self, upload_id: str) -> UploadRecord | None:
        return self._s.uploads.get(upload_id)

    async def put_upload(self, upload: UploadRecord) -> None:
        self._s.uploads[upload.upload_id] = upload

    async def delete_upload(self, upload_id: str) -> None:
        self._s.uploads.pop(upload_id, None)
        self._drop(lambda batch: batch.upload_id == upload_id and not batch.live)

    async def stale_uploads(self, before: datetime) -> tuple[UploadRecord, ...]:
        return tuple(item for item in self._s.uploads.values() if item.touched < before)

    async def agencies(self, linkage: str) -> tuple[str, ...]:
        found = {item.segment.agency for item in self._s.batches.values() if item.linkage == linkage}
        return tuple(sorted(found))

    async def drop_agency(self, linkage: str, agency: str) -> None:
        mine = (linkage, agency)
        self._s.batches = {
            key: item for key, item in self._s.batches.items() if (item.linkage, item.segment.agency) != mine
        }
        self._s.uploads = {
            key: item for key, item in self._s.uploads.items() if (item.linkage, item.agency) != mine
        }
        self._s.versions = {key: count for key, count in self._s.versions.items() if (key[0], key[2]) != mine}

    async def open_uploads(self, linkage: str, agency: str) -> tuple[UploadRecord, ...]:
        found = [item for item in self._uploads_of(linkage, agency) if not item.committed]
        return tuple(sorted(found, key=lambda item: (item.touched, item.upload_id)))

    async def sent_since(
        self, linkage: str, agency: str, since: datetime, besides: str, *, open_too: bool
    ) -> int:
        return sum(
            max(1, item.withdrawn + (item.rows if item.committed else item.row_count))
            for item in self._uploads_of(linkage, agency)
            if item.touched > since and item.upload_id != besides and (item.committed or open_too)
        )

    async def stage(self, upload: UploadRecord, sequence: int, digest: str, segment: Segment) -> None:
        number = self._s.next_serial("segment")
        self._s.batches[number] = _Batch(
            upload.linkage,
            upload.epoch,
            upload.upload_id,
            sequence,
            digest,
            False,
            replace(segment, id=number),
        )

    async def staged_digest(self, upload_id: str, sequence: int) -> str | None:
        return next(
            (item.digest for item in self._staged(upload_id) if item.sequence == sequence),
            None,
        )

    async def staged(self, upload_id: str) -> tuple[Segment, ...]:
        found = sorted(self._staged(upload_id), key=lambda item: item.sequence)
        return tuple(item.segment for item in found)

    async def staged_of(self, linkage: str, agency: str) -> tuple[Segment, ...]:
        return tuple(
            item.segment
            for item in self._s.batches.values()
            if not item.live and (item.linkage, item.segment.agency) == (linkage, agency)
        )

    async def promote(self, upload_id: str) -> None:
        for item in self._staged(upload_id):
            if item.segment.rows:
                live = replace(item, live=True, segment=replace(item.segment, withdrawn=b""))
                self._s.batches[item.segment.id] = live
            else:
                del self._s.batches[item.segment.id]

    async def live(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        return tuple(
            item.segment
            for _, item in sorted(self._s.batches.items())
            if item.live and (item.linkage, item.epoch, item.segment.agency) == (linkage, epoch, agency)
        )

    async def live_of(
        self, linkage: str, epoch: int, agency: str, uploads: Collection[str]
    ) -> tuple[Segment, ...]:
        brought = {item.segment.id for item in self._s.batches.values() if item.upload_id in uploads}
        return tuple(item for item in await self.live(linkage, epoch, agency) if item.id in brought)

    async def live_elsewhere(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        return tuple(
            item.segment
            for _, item in sorted(self._s.batches.items())
            if item.live and (item.linkage, item.segment.agency) == (linkage, agency) and item.epoch != epoch
        )

    async def replace_segment(self, segment: Segment) -> None:
        batch = self._s.batches[segment.id]
        if batch.live and not segment.rows:
            del self._s.batches[segment.id]
        else:
            self._s.batches[segment.id] = replace(batch, segment=segment)

    async def drop_live(self, linkage: str, epoch: int, agency: str) -> None:
        wanted = (linkage, epoch, agency)
        self._drop(lambda item: item.live and (item.linkage, item.epoch, item.segment.agency) == wanted)

    async def drop_before(self, linkage: str, epoch: int) -> int:
        old = [item for item in self._s.batches.values() if item.linkage == linkage and item.epoch < epoch]
        for item in old:
            del self._s.batches[item.segment.id]
        for upload in list(self._s.uploads.values()):
            if upload.linkage == linkage and upload.epoch < epoch:
                del self._s.uploads[upload.upload_id]
        for key in list(self._s.versions):
            if key[0] == linkage and key[1] < epoch:
                del self._s.versions[key]
        return sum(item.segment.rows for item in old)

    async def linkages(self) -> tuple[str, ...]:
        return tuple(sorted({item.linkage for item in self._s.batches.values()}))

    async def held(self, linkage: str, epoch: int) -> Mapping[str, int]:
        rows = {agency: 0 for name, number, agency in self._s.versions if (name, number) == (linkage, epoch)}
        for item in self._s.batches.values():
            if item.live and (item.linkage, item.epoch) == (linkage, epoch):
                rows[item.segment.agency] = rows.get(item.segment.agency, 0) + item.segment.rows
        return rows

    async def versions(self, linkage: str, epoch: int) -> Mapping[str, int]:
        return {
            agency: count
            for (name, number, agency), count in sorted(self._s.versions.items())
            if (name, number) == (linkage, epoch)
        }

    async def bump(self, linkage: str, epoch: int, agency: str) -> None:
        key = (linkage, epoch, agency)
        self._s.versions[key] = self._s.versions.get(key, 0) + 1

    def _uploads_of(self, linkage: str, agency: str) -> list[UploadRecord]:
        return [item for item in self._s.uploads.values() if (item.linkage, item.agency) == (linkage, agency)]

    def _staged(self, upload_id: str) -> list[_Batch]:
        return [item for item in self._s.batches.values() if item.upload_id == upload_id and not item.live]

    def _drop(self, unwanted: Callable[[_Batch], bool]) -> None:
        for number in [number for number, item in self._s.batches.items() if unwanted(item)]:
            del self._s.batches[number]


class _Runs(_Role):
    async def get(self, run_id: str) -> RunRecord | None:
        return self._s.runs.get(run_id)

    async def put(self, run: RunRecord) -> None:
        self._s.runs[run.run_id] = run

    async def latest(self, linkage: str) -> RunRecord | None:
        found = [item for item in self._s.runs.values() if item.linkage == linkage]
        return found[-1] if found else None

    async def unfinished(self) -> tuple[RunRecord, ...]:
        return tuple(item for item in self._s.runs.values() if not item.state.ended)


class _Links(_Role):
    async def pairs(self, linkage: str) -> tuple[MatchedPair, ...]:
        found = [item for key, item in self._s.pairs.items() if key[0] == linkage]
        return tuple(sorted(found, key=lambda item: (item.first, item.second)))

    async def pairs_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[MatchedPair, ...]:
        wanted = set(subjects)
        return tuple(
            item for item in await self.pairs(linkage) if item.first in wanted or item.second in wanted
        )

    async def has_pairs(self, linkage: str, agency: str) -> bool:
        return any(
            name == linkage and agency in (one.agency, other.agency) for name, one, other in self._s.pairs
        )

    async def linkages(self) -> tuple[str, ...]:
        names = {key[0] for key in self._s.pairs} | {item.linkage for item in self._s.tokens.values()}
        return tuple(sorted(names))

    async def remove_pairs(self, linkage: str, pairs: Iterable[MatchedPair]) -> None:
        for pair in pairs:
            self._s.pairs.pop((linkage, pair.first, pair.second), None)

    async def put_pairs(self, linkage: str, pairs: Iterable[MatchedPair]) -> None:
        for pair in pairs:
            self._s.pairs[linkage, pair.first, pair.second] = pair

    async def tokens(self, linkage: str) -> tuple[TokenRecord, ...]:
        found = [item for item in self._s.tokens.values() if item.linkage == linkage and not item.passing]
        return tuple(sorted(found, key=lambda item: item.token))

    async def tokens_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[TokenRecord, ...]:
        wanted = set(subjects)
        return tuple(
            item
            for item in await self.tokens(linkage)
            if item.recipient in wanted or item.counterpart in wanted
        )

    async def token(self, token: bytes) -> TokenRecord | None:
        return self._s.tokens.get(token)

    async def put_tokens(self, tokens: Iterable[TokenRecord]) -> None:
        for token in tokens:
            self._s.tokens[token.token] = token

    async def delete_tokens(self, tokens: Iterable[bytes]) -> None:
        for token in tokens:
            self._s.tokens.pop(token, None)

    async def tell(self, linkage: str, events: Sequence[NewEvent]) -> None:
        gone = {item.link.token for item in events if item.kind is LinkEventKind.RECALLED}
        if gone:
            self._s.events = {k: item for k, item in self._s.events.items() if item.link.token not in gone}
        for event in events:
            cursor = self._s.cursors.get((linkage, event.recipient), 0) + 1
            self._s.cursors[linkage, event.recipient] = cursor
            self._s.events[linkage, event.recipient, cursor] = LinkEvent(cursor, event.kind, event.link)

    async def events(self, linkage: str, recipient: str, after: int, limit: int) -> tuple[LinkEvent, ...]:
        found = [
            item for key, item in self._s.events.items() if key[:2] == (linkage, recipient) and key[2] > after
        ]
        return tuple(sorted(found, key=lambda item: item.cursor)[:limit])

    async def purge(self, now: datetime) -> None:
        self._s.tokens = {
            k: item for k, item in self._s.tokens.items() if not item.passing or item.expires > now
        }
        self._s.events = {k: item for k, item in self._s.events.items() if item.link.expires > now}


class _Holds(_Role):
    async def get(self, hold_id: str) -> Hold | None:
        return self._s.holds.get(hold_id)

    async def put(self, hold: Hold) -> None:
        self._s.holds[hold.hold_id] = hold

    async def listed(self, linkage: str | None = None) -> tuple[Hold, ...]:
        found = [item for item in self._s.holds.values() if linkage in (None, item.linkage)]
        return tuple(sorted(found, key=lambda item: (item.created, item.hold_id)))

    async def rates(self, linkage: str) -> tuple[MatchRate, ...]:
        return tuple(item for key, item in sorted(self._s.rates.items()) if key[0] == linkage)

    async def put_rates(self, items: Iterable[MatchRate]) -> None:
        self._s.rates.update({(item.linkage, item.first, item.second): item for item in items})


class _Relay(_Role):
    async def totals(self) -> MailboxLoad:
        sizes = [len(item.message.sealed) for _, item in self._s.mail.values()]
        return MailboxLoad(len(sizes), sum(sizes))

    async def seen(self, sender: str, message_id: str) -> str | None:
        found = self._s.seen.get((sender, message_id))
        return found[0] if found else None

    async def put(self, envelope: Envelope) -> None:
        position = self._s.next_serial("mail")
        message = envelope.message
        self._s.mail[position] = (envelope.recipient, replace(envelope, position=position))
        self._s.seen[message.sender, message.message_id] = (envelope.digest, envelope.expires)

    async def is_waiting(self, recipient: str, message_id: str) -> bool:
        return any(
            owner == recipient and item.message.message_id == message_id
            for owner, item in self._s.mail.values()
        )

    async def load(self, recipient: str, sender: str | None = None) -> MailboxLoad:
        sizes = [
            len(item.message.sealed)
            for owner, item in self._s.mail.values()
            if owner == recipient and sender in (None, item.message.sender)
        ]
        return MailboxLoad(len(sizes), sum(sizes))

    async def waiting(self, recipient: str, after: int, now: datetime, limit: int) -> tuple[Envelope, ...]:
        found = [
            item
            for position, (owner, item) in sorted(self._s.mail.items())
            if owner == recipient and position > after and item.expires > now
        ]
        return tuple(found[:limit])

    async def acknowledge(self, recipient: str, message_ids: Iterable[str]) -> int:
        wanted = set(message_ids)
        gone = [
            position
            for position, (owner, item) in self._s.mail.items()
            if owner == recipient and item.message.message_id in wanted
        ]
        for position in gone:
            del self._s.mail[position]
        return len(gone)

    async def purge(self, now: datetime) -> int:
        old = [position for position, (_, item) in self._s.mail.items() if item.expires <= now]
        for position in old:
            del self._s.mail[position]
        self._s.seen = {key: item for key, item in self._s.seen.items() if item[1] > now}
        return len(old)


class _Audit(_Role):
    async def size(self) -> int:
        return len(self._s.leaves)

    async def append(self, index: int, leaf: bytes, sealed: bytes, nodes: Iterable[LogNode]) -> None:
        self._s.leaves[index] = (leaf, sealed)
        self._s.nodes.update({(node.level, node.index): node.hash for node in nodes})

    async def nodes(self, wanted: Iterable[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        return {key: self._s.nodes[key] for key in wanted if key in self._s.nodes}

    async def leaves(self, first: int, end: int) -> tuple[bytes, ...]:
        return tuple(self._s.leaves[index][0] for index in range(first, min(end, len(self._s.leaves))))

    async def checkpoint(self) -> tuple[int, bytes] | None:
        return max(self._s.checkpoints.items(), default=None)

    async def checkpoint_at(self, size: int) -> bytes | None:
        return self._s.checkpoints.get(size)

    async def put_checkpoint(self, size: int, note: bytes) -> None:
        self._s.checkpoints[size] = note


class MemoryTransaction:
    """All roles over one state."""

    def __init__(self, state: _State) -> None:
        self.trust = _Trust(state)
        self.documents = _Documents(state)
        self.epochs = _Epochs(state)
        self.encodings = _Encodings(state)
        self.runs = _Runs(state)
        self.links = _Links(state)
        self.holds = _Holds(state)
        self.relay = _Relay(state)
        self.audit = _Audit(state)


class MemoryStore:
    """A `BrokerStore` in memory. A write works on a snapshot that takes the state's place when it ends."""

    def __init__(self) -> None:
        self._state = _State()
        self._writer = asyncio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[MemoryTransaction]:
        """A transaction that may change things."""
        async with self._writer:
            state = self._state.snapshot()
            yield MemoryTransaction(state)
            self._state = state

    @asynccontextmanager
    async def read(self) -> AsyncIterator[MemoryTransaction]:
        """A transaction over the state as it is now."""
        yield MemoryTransaction(self._state)

    async def close(self) -> None:
        """Nothing to release."""
