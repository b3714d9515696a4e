"""What the broker's store keeps, as frozen values. Handles, encodings and tokens never appear in a `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protos.wire.documents import DocumentKind
from protos.wire.linkage import EpochState, Link, LinkEventKind, RunState, Strength, UploadMode
from protos.wire.relay import IncomingMessage


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A fully signed document. `subject` is the id of its linkage or policy, which versions share."""

    hash: str
    kind: DocumentKind
    subject: str
    version: int
    parties: tuple[str, ...]
    document: bytes = field(repr=False)
    statements: tuple[bytes, ...] = field(repr=False)
    events: tuple[bytes, ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class StoredStatus:
    """The newest status snapshot of a policy by one provider."""

    policy_hash: str
    provider: str
    version: int
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch of a linkage. Of a rotation, `opened_by` is who asked for it, and `reason` why."""

    linkage: str
    epoch: int
    state: EpochState
    agreement_hash: str
    schema_hash: str
    created: datetime
    opened_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What one participant said of an epoch's key."""

    agency: str
    transcript_hash: bytes = field(repr=False)
    confirmation: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """An upload by one agency: announced, filled batch by batch, then committed.

    `row_count` was announced; `rows` and `withdrawn`, the handles to withdraw, are what came so far.
    """

    upload_id: str
    agency: str
    linkage: str
    epoch: int
    mode: UploadMode
    row_count: int
    touched: datetime
    next_sequence: int = 0
    rows: int = 0
    withdrawn: int = 0
    committed: bool = False
    rows_held: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """A batch of rows as dense records (`broker.rows.RowLayout`), with the handles that it withdraws."""

    id: int
    agency: str
    rows: int
    body: bytes = field(repr=False)
    withdrawn: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A matching run. `data` names what was matched: equal data need no second run."""

    run_id: str
    linkage: str
    epoch: int
    data: str
    state: RunState
    created: datetime
    stage: str = "queued"
    done: int = 0
    total: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """One agency's subject, by the opaque handle that the agency gave it."""

    agency: str
    handle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MatchedPair:
    """Two subjects of different agencies taken to be one; `first < second`. The broker's own knowledge."""

    first: Subject
    second: Subject
    strength: Strength


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A link token as told to one recipient, and whom it stands for.

    `named` is False where the policy withholds the counterpart's name. The recipient is told that the link
    lives until `told_until`, which says less than `expires`, its true end, where it would name the policy.
    """

    token: bytes = field(repr=False)
    linkage: str
    policy_hash: str
    recipient: Subject
    counterpart: Subject
    epoch: int
    strength: Strength
    expires: datetime
    told_until: datetime
    named: bool
    #: From a single look-up: told in the answer only, and never in the recipient's event log.
    passing: bool = False

    def link(self) -> Link:
        """What the recipient may know."""
        return Link(
            token=self.token,
            handle=self.recipient.handle,
            linkage_id=self.linkage,
            epoch=self.epoch,
            strength=self.strength,
            counterpart=self.counterpart.agency if self.named else None,
            policy_hash=self.policy_hash if self.named else "",
            expires=self.told_until,
        )


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event for one recipient, before it has a cursor."""

    recipient: str
    kind: LinkEventKind
    link: Link


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed message in a recipient's mailbox; `position` orders the mailbox, 0 before it is stored."""

    recipient: str
    message: IncomingMessage
    digest: str
    expires: datetime
    position: int = 0


@dataclass(frozen=True, slots=True)
class MailboxLoad:
    """How full a mailbox is."""

    messages: int
    sealed_bytes: int


class HoldKind(StrEnum):
    """What is kept back until somebody has looked at it."""

    UPLOAD = "upload"
    LOOK_UPS = "look-ups"
    LINKS = "links"


@dataclass(frozen=True, slots=True)
class Hold:
    """Something kept back. `subject` says of what: the digest of an upload's rows, or the agency on the other
    side of withheld links; `figures` are counts only."""

    hold_id: str
    kind: HoldKind
    linkage: str
    agency: str
    subject: str
    created: datetime
    reason: str
    figures: Mapping[str, int]
    #: When somebody let it go, or None.
    released: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it is still kept back."""
        return self.released is None


@dataclass(frozen=True, slots=True)
class MatchRate:
    """How many links two agencies had at the last accepted run, and how many subjects each."""

    linkage: str
    first: str
    second: str
    links: int
    first_subjects: int
    second_subjects: int


@dataclass(frozen=True, slots=True)
class LogNode:
    """A complete node of the audit log's Merkle tree."""

    level: int
    index: int
    hash: bytes
