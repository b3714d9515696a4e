"""What a node knows of its linkages: domain values that its services and its store share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agency_node.subjects import SubjectId
from policies.ids import AgencyId, LinkageId
from protos.wire.linkage import Strength, UploadMode
from protos.wire.relay import ToAgency, ToLink


@dataclass(frozen=True, slots=True)
class KnownLink:
    """A link that this agency was told of, and which of its own subjects it is about."""

    token: bytes = field(repr=False)
    handle: bytes = field(repr=False)
    linkage_id: LinkageId
    epoch: int
    #: None where the policy withholds the agency's name.
    counterpart: AgencyId | None
    strength: Strength
    policy_hash: str
    expires: datetime


class KeyState(StrEnum):
    """How far this node is with an epoch's key."""

    COMMITTING = "committing"
    REVEALING = "revealing"
    CONFIRMING = "confirming"
    OPEN = "open"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EpochKey:
    """One epoch's key agreement as this node holds it. Everything secret is wrapped."""

    linkage_id: LinkageId
    epoch: int
    state: KeyState
    agreement_hash: str
    #: The canonical JSON of the key agreement's state machine, encrypted under the keystore's secret.
    wrapped: bytes = field(repr=False)
    updated: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is spooled here until the broker has committed it."""

    upload_id: str
    linkage_id: LinkageId
    epoch: int
    schema_hash: str
    mode: UploadMode
    row_count: int
    batch_count: int
    #: Whether every batch is spooled; only then does anything leave the node.
    sealed: bool


@dataclass(frozen=True, slots=True)
class CarriedRelease:
    """Which release a message carries, when it was decided, and a keyed hash of what it shows.

    By them it is found out whether it may still leave.
    """

    release_hash: str
    decided: datetime
    content: str


@dataclass(frozen=True, slots=True)
class PeerLog:
    """How another agency's log has fared here as its witness."""

    peer: AgencyId
    #: When a head was last cosigned, or, before the first, when one was first looked for.
    valid: datetime
    #: How many heads were refused since.
    refused: int = 0


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A sealed message that waits to be accepted by the broker."""

    message_id: str
    address: ToAgency | ToLink
    purpose: str
    sealed: bytes = field(repr=False)
    expires: datetime
    attempts: int = 0
    #: None where nothing is released by it.
    release: CarriedRelease | None = None


@dataclass(frozen=True, slots=True)
class HandleEntry:
    """A subject's opaque handle in a linkage, and a digest of what was last uploaded for it."""

    subject_id: SubjectId = field(repr=False)
    handle: bytes = field(repr=False)
    #: Digest of the subject's rows as uploaded in `epoch`, or None before the first upload.
    digest: bytes | None = field(repr=False)
    epoch: int
    #: A made-up subject, which stands for nobody.
    decoy: bool = False
