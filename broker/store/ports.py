"""The ports of the broker's store, one for each role, and the transaction that bundles them.

Everything done through one `Transaction` of `BrokerStore.write` becomes durable together when its context
ends, or not at all if it ends by an exception. There is one writer at a time; a `BrokerStore.read` sees one
consistent state and must not change anything. Lists come in the order that their methods name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

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
from protos.wire.linkage import LinkEvent


class TrustStore(Protocol):
    """Roots and the registry, as signed."""

    async def roots(self) -> tuple[tuple[int, bytes], ...]:
        """All roots as (version, envelope), versions ascending."""

    async def add_root(self, version: int, envelope: bytes) -> None:
        """Keeps a root."""

    async def registry(self) -> tuple[int, bytes] | None:
        """The newest registry as (version, envelope)."""

    async def put_registry(self, version: int, envelope: bytes) -> None:
        """Keeps a registry in place of the one before."""


class DocumentStore(Protocol):
    """Linkage agreements and sharing policies."""

    async def get(self, document_hash: str) -> StoredDocument | None:
        """One document with its statements and events."""

    async def add(self, document: StoredDocument) -> None:
        """Keeps a new document."""

    async def add_event(self, document_hash: str, event: bytes) -> None:
        """Appends a lifecycle event."""

    async def listed(
        self, *, kind: DocumentKind | None = None, party: str | None = None, subject: str | None = None
    ) -> tuple[StoredDocument, ...]:
        """Documents by kind, subject, then version; only those that match what is given."""

    async def statuses(self, policy_hash: str) -> tuple[StoredStatus, ...]:
        """The newest snapshot of each provider, by provider."""

    async def put_status(self, status: StoredStatus) -> None:
        """Keeps a snapshot in place of the provider's one before."""


class EpochStore(Protocol):
    """Epochs of linkages and the confirmations of their keys."""

    async def current(self, linkage: str) -> EpochRecord | None:
        """The newest epoch."""

    async def opened_since(self, linkage: str, since: datetime) -> tuple[EpochRecord, ...]:
        """The epochs opened after a time, oldest first."""

    async def put(self, epoch: EpochRecord) -> None:
        """Adds an epoch or replaces it."""

    async def confirmations(self, linkage: str, epoch: int) -> tuple[Confirmation, ...]:
        """By agency."""

    async def add_confirmation(self, linkage: str, epoch: int, confirmation: Confirmation) -> None:
        """Keeps what an agency said; it says it once an epoch."""


class EncodingStore(Protocol):
    """Uploads, and the encodings that they brought."""

    async def upload(self, upload_id: str) -> UploadRecord | None:
        """One upload."""

    async def put_upload(self, upload: UploadRecord) -> None:
        """Adds an upload or replaces it."""

    async def delete_upload(self, upload_id: str) -> None:
        """Forgets an upload and what is staged for it, not what it committed."""

    async def stale_uploads(self, before: datetime) -> tuple[UploadRecord, ...]:
        """Uploads last touched before a time."""

    async def open_uploads(self, linkage: str, agency: str) -> tuple[UploadRecord, ...]:
        """An agency's uploads that are not committed, the one longest untouched first."""

    async def sent_since(
        self, linkage: str, agency: str, since: datetime, besides: str, *, open_too: bool
    ) -> int:
        """What an agency's committed uploads, touched after a time, amount to, all `besides` one.

        Each counts its rows and its withdrawn handles, at least one. With `open_too` those that are not
        committed count too, by the rows that they announced.
        """

    async def stage(self, upload: UploadRecord, sequence: int, digest: str, segment: Segment) -> None:
        """Keeps a batch of an open upload, unseen by matching; `segment.id` is not used."""

    async def staged_digest(self, upload_id: str, sequence: int) -> str | None:
        """The digest of a staged batch."""

    async def staged(self, upload_id: str) -> tuple[Segment, ...]:
        """The staged batches of an upload, in sequence."""

    async def staged_of(self, linkage: str, agency: str) -> tuple[Segment, ...]:
        """All staged batches of an agency, in any epoch."""

    async def promote(self, upload_id: str) -> None:
        """Makes the staged rows of an upload live, and forgets what it staged for withdrawal."""

    async def live(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        """The live segments of an agency, in the order in which they came."""

    async def live_of(
        self, linkage: str, epoch: int, agency: str, uploads: Collection[str]
    ) -> tuple[Segment, ...]:
        """Those live segments of an agency that some uploads brought, in the order in which they came."""

    async def live_elsewhere(self, linkage: str, epoch: int, agency: str) -> tuple[Segment, ...]:
        """The live segments of an agency in all epochs but one."""

    async def replace_segment(self, segment: Segment) -> None:
        """Overwrites the rows of a segment; a live one without rows is deleted."""

    async def drop_live(self, linkage: str, epoch: int, agency: str) -> None:
        """Deletes the live segments of an agency in an epoch."""

    async def drop_before(self, linkage: str, epoch: int) -> int:
        """Deletes all encodings and uploads of earlier epochs; returns how many rows went."""

    async def agencies(self, linkage: str) -> tuple[str, ...]:
        """Agencies that have encodings in a linkage, live or staged, in any epoch."""

    async def drop_agency(self, linkage: str, agency: str) -> None:
        """Deletes everything that an agency uploaded, in all epochs."""

    async def linkages(self) -> tuple[str, ...]:
        """Linkages that have encodings, live or staged."""

    async def held(self, linkage: str, epoch: int) -> Mapping[str, int]:
        """Live rows by agency, only of agencies that committed an upload."""

    async def versions(self, linkage: str, epoch: int) -> Mapping[str, int]:
        """How often the live rows of each agency changed."""

    async def bump(self, linkage: str, epoch: int, agency: str) -> None:
        """Counts a change of an agency's live rows."""


class RunStore(Protocol):
    """Matching runs."""

    async def get(self, run_id: str) -> RunRecord | None:
        """One run."""

    async def put(self, run: RunRecord) -> None:
        """Adds a run or replaces it."""

    async def latest(self, linkage: str) -> RunRecord | None:
        """The newest run of a linkage."""

    async def unfinished(self) -> tuple[RunRecord, ...]:
        """Runs that are queued or running, oldest first."""


class LinkStore(Protocol):
    """Matched pairs, the tokens told for them, and each recipient's event log."""

    async def pairs(self, linkage: str) -> tuple[MatchedPair, ...]:
        """All matched pairs, in order of their subjects."""

    async def pairs_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[MatchedPair, ...]:
        """The matched pairs with an end among some subjects, in order of their subjects."""

    async def has_pairs(self, linkage: str, agency: str) -> bool:
        """Whether any subject of an agency is in a matched pair."""

    async def linkages(self) -> tuple[str, ...]:
        """Linkages that have pairs or tokens."""

    async def remove_pairs(self, linkage: str, pairs: Iterable[MatchedPair]) -> None:
        """Forgets pairs."""

    async def put_pairs(self, linkage: str, pairs: Iterable[MatchedPair]) -> None:
        """Adds pairs, or changes their strength."""

    async def tokens(self, linkage: str) -> tuple[TokenRecord, ...]:
        """All tokens of a linkage that are not passing."""

    async def tokens_of(self, linkage: str, subjects: Collection[Subject]) -> tuple[TokenRecord, ...]:
        """Of the tokens that are not passing, those told to or about some subjects, by token."""

    async def token(self, token: bytes) -> TokenRecord | None:
        """One token."""

    async def put_tokens(self, tokens: Iterable[TokenRecord]) -> None:
        """Adds tokens or replaces them."""

    async def delete_tokens(self, tokens: Iterable[bytes]) -> None:
        """Forgets tokens."""

    async def tell(self, linkage: str, events: Sequence[NewEvent]) -> None:
        """Appends events to their recipients' logs.

        Cursors rise by one in each log, so that nobody can count what others are told. A recall deletes the
        earlier events of its token.
        """

    async def events(self, linkage: str, recipient: str, after: int, limit: int) -> tuple[LinkEvent, ...]:
        """Events after a cursor, in order."""

    async def purge(self, now: datetime) -> None:
        """Deletes passing tokens and events whose time is up."""


class HoldStore(Protocol):
    """What is kept back until somebody has looked at it, and the figures to compare with."""

    async def get(self, hold_id: str) -> Hold | None:
        """One hold."""

    async def put(self, hold: Hold) -> None:
        """Adds a hold or replaces it."""

    async def listed(self, linkage: str | None = None) -> tuple[Hold, ...]:
        """All holds, or those of one linkage, oldest first."""

    async def rates(self, linkage: str) -> tuple[MatchRate, ...]:
        """The figures of a linkage, by agencies."""

    async def put_rates(self, rates: Iterable[MatchRate]) -> None:
        """Adds figures or replaces them."""


class RelayStore(Protocol):
    """Mailboxes of sealed messages."""

    async def totals(self) -> MailboxLoad:
        """What waits in all mailboxes together."""

    async def seen(self, sender: str, message_id: str) -> str | None:
        """The digest of a message that was accepted, also after its delivery, until it expires."""

    async def put(self, envelope: Envelope) -> None:
        """Puts a message into its recipient's mailbox and remembers that it was seen."""

    async def is_waiting(self, recipient: str, message_id: str) -> bool:
        """Whether a message with this id is in a mailbox, whoever sent it."""

    async def load(self, recipient: str, sender: str | None = None) -> MailboxLoad:
        """How full a mailbox is, with everybody's messages or one sender's."""

    async def waiting(self, recipient: str, after: int, now: datetime, limit: int) -> tuple[Envelope, ...]:
        """Unexpired messages after a position, oldest first."""

    async def acknowledge(self, recipient: str, message_ids: Iterable[str]) -> int:
        """Forgets delivered messages; returns how many."""

    async def purge(self, now: datetime) -> int:
        """Deletes expired messages and what was remembered of them; returns how many messages."""


class AuditStore(Protocol):
    """The broker's append-only log."""

    async def size(self) -> int:
        """How many leaves."""

    async def append(self, index: int, leaf: bytes, sealed: bytes, nodes: Iterable[LogNode]) -> None:
        """Adds a leaf with its sealed details and the nodes that it completes."""

    async def nodes(self, wanted: Iterable[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """Hashes of complete nodes by (level, index)."""

    async def leaves(self, first: int, end: int) -> tuple[bytes, ...]:
        """Leaves from `first` to before `end`."""

    async def checkpoint(self) -> tuple[int, bytes] | None:
        """The newest checkpoint as (size, signed note)."""

    async def checkpoint_at(self, size: int) -> bytes | None:
        """The checkpoint of a tree size."""

    async def put_checkpoint(self, size: int, note: bytes) -> None:
        """Adds a checkpoint, or replaces the one of the same size."""


class Transaction(Protocol):
    """All roles within one transaction."""

    @property
    def trust(self) -> TrustStore: ...
    @property
    def documents(self) -> DocumentStore: ...
    @property
    def epochs(self) -> EpochStore: ...
    @property
    def encodings(self) -> EncodingStore: ...
    @property
    def runs(self) -> RunStore: ...
    @property
    def links(self) -> LinkStore: ...
    @property
    def holds(self) -> HoldStore: ...
    @property
    def relay(self) -> RelayStore: ...
    @property
    def audit(self) -> AuditStore: ...


class BrokerStore(Protocol):
    """Opens transactions."""

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that may change things; others wait for it."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that only reads."""

    async def close(self) -> None:
        """Releases connections."""
