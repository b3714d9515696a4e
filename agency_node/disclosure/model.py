"""What a node keeps of requests, releases and approvals: domain values that its services and store share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from policies.ids import AgencyId, DocumentId, PersonId
from policies.vocabulary import Purpose


class Direction(StrEnum):
    """On which side of a request this node stands."""

    MADE = "made"
    RECEIVED = "received"


class RequestState(StrEnum):
    """Where a request is."""

    SENT = "sent"
    WAITING = "waiting"
    RELEASED = "released"
    REFUSED = "refused"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    RECALLED = "recalled"
    PURGED = "purged"
    WITHDRAWN = "withdrawn"


class ReleaseSide(StrEnum):
    """Whether a release was given by this node or received by it."""

    GIVEN = "given"
    RECEIVED = "received"


class ReleaseState(StrEnum):
    """What has become of a release."""

    #: Given: sent, no receipt yet. Received: held until its time is up.
    OPEN = "open"
    #: Given: the recipient's receipt is here.
    RECEIPTED = "receipted"
    #: Given: taken out of the queue before it was sent.
    WITHDRAWN = "withdrawn"
    #: Given: the recipient's erasure receipt is here. Received: purged, and the receipt sent.
    ERASED = "erased"

    @property
    def closed(self) -> bool:
        """Whether there is nothing left that could be taken back."""
        return self in (ReleaseState.WITHDRAWN, ReleaseState.ERASED)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request that was made or received. What is personal is in `wrapped` and `outcome`, encrypted."""

    direction: Direction
    request_id: DocumentId
    request_hash: str
    peer: AgencyId
    state: RequestState
    officer: PersonId
    purpose: Purpose
    tier: int
    policy_hash: str
    subject_mac: str | None
    link_mac: str
    created: datetime
    expires: datetime
    approvals: int
    approvals_needed: int
    message_id: str | None
    wrapped: bytes | None = field(repr=False)
    outcome: bytes | None = field(repr=False)
    #: The keyed hash of the case reference.
    case_mac: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A release that was given or received."""

    side: ReleaseSide
    release_hash: str
    request_id: DocumentId | None
    peer: AgencyId
    state: ReleaseState
    policy_hash: str
    subject_mac: str
    link_mac: str
    released: datetime
    purge_after: datetime
    wrapped: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class EmergencyUse:
    """One use of break-glass, and whether its review is done."""

    request_id: DocumentId
    direction: Direction
    officer: PersonId
    peer: AgencyId
    policy_hash: str
    used: datetime
    review_due: datetime
    reviewed: datetime | None = None
    #: When its review found that it was not justified.
    unjustified: datetime | None = None
    #: When an overseer signed that off.
    cleared: datetime | None = None


@dataclass(frozen=True, slots=True)
class SupervisionItem:
    """What a supervisor should look at: a sampled release, or an alarm. It names no subject."""

    item_id: str
    #: "sample" or the kind of alarm.
    kind: str
    request_id: str
    officer: str
    peer: AgencyId
    policy_hash: str
    raised: datetime
    signed_off: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredConflict:
    """A declaration that an officer may not ask about a subject, or about anybody (`subject_mac` empty)."""

    officer: str
    subject_mac: str
    declared: datetime
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Push:
    """What was last pushed over a link: `digest` of it, and when the link was last looked at.

    `offer_hash` is of the offer that waits for the recipient's evidence. While it waits, and after evidence
    that was of somebody else, no other is made before `no_offer_before`.
    """

    token: bytes = field(repr=False)
    checked: datetime | None
    digest: str
    offer_hash: str | None = None
    no_offer_before: datetime | None = None
