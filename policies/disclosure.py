"""The documents of a disclosure: request, approval, decision, release, refusal, receipt, recall, erasure.

Each is signed by an officer or a node and sealed for its recipient. They hold personal data (necessity,
evidence, values), so their `repr` shows the kind only. `*_hash` members are document hashes of the documents
that they follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from policies.annexb import AnnexB
from policies.ids import (
    AgencyId,
    DocumentId,
    FederationId,
    FieldName,
    FieldValue,
    Hash256,
    HexBytes,
    Line,
    LinkageId,
    LinkTokenText,
    PersonId,
    PolicyId,
    Prose,
    RecordType,
)
from policies.vocabulary import TIERS, Decision, OfficerRole, Purpose

MAX_REQUEST_LIFETIME = timedelta(days=30)


class Redacted:
    """A document whose `repr` shows nothing of what it holds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: contents withheld>"


class Urgency(StrEnum):
    """How soon an answer is needed."""

    ROUTINE = "routine"
    URGENT = "urgent"
    IMMEDIATE = "immediate"


class Outcome(StrEnum):
    """What became of one field."""

    RELEASED = "released"
    WITHHELD = "withheld"
    NEEDS_APPROVAL = "needs_approval"
    DENIED = "denied"


class RefusalCode(StrEnum):
    """Why nothing is released. `NOT_AVAILABLE` neither confirms nor denies that there is anything."""

    NOT_AVAILABLE = "not_available"
    NOT_PERMITTED = "not_permitted"
    POLICY_NOT_IN_FORCE = "policy_not_in_force"
    REQUEST_EXPIRED = "request_expired"
    REQUEST_WITHDRAWN = "request_withdrawn"
    IDENTITY_NOT_CONFIRMED = "identity_not_confirmed"
    LIMIT_REACHED = "limit_reached"
    CONFLICT_OF_INTEREST = "conflict_of_interest"


class RecallReason(StrEnum):
    """Why a link or release is taken back."""

    FALSE_LINK = "false_link"
    SUBJECT_WITHDRAWN = "subject_withdrawn"
    RECORD_WRONG = "record_wrong"
    POLICY_ENDED = "policy_ended"
    EPOCH_ENDED = "epoch_ended"
    NOT_JUSTIFIED = "not_justified"


class ErasureReason(StrEnum):
    """Why a recipient erased what it had received."""

    RETENTION_ENDED = "retention_ended"
    RECALLED = "recalled"
    SUBJECT_RIGHT = "subject_right"
    POLICY_ENDED = "policy_ended"


@dataclass(frozen=True, slots=True)
class RecordAsk:
    """Fields of one record type that are asked for."""

    record_type: RecordType
    fields: tuple[FieldName, ...]

    def __post_init__(self) -> None:
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError("a request names at least one field of a record type, each once")


@dataclass(frozen=True, slots=True, repr=False)
class IdentityEvidence(Redacted):
    """A keyed value of an identity field, by which the provider checks that both mean the same person."""

    field: FieldName
    value: HexBytes


@dataclass(frozen=True, slots=True, repr=False)
class BreakGlass(Redacted):
    """The claim of an emergency: reason code of the policy, the officer's words, and the step-up sign-in."""

    reason_code: Line
    explanation: Prose
    authenticated_at: datetime


@dataclass(frozen=True, slots=True, repr=False)
class DisclosureRequest(Redacted):
    """`disclosure-request/v1`, signed by the officer and the requester's node."""

    KIND: ClassVar[str] = "disclosure-request/v1"

    federation: FederationId
    id: DocumentId
    linkage: LinkageId
    policy: PolicyId
    policy_hash: Hash256
    link_token: LinkTokenText
    requester: AgencyId
    officer: PersonId
    role: OfficerRole
    purpose: Purpose
    tier: int
    asks: tuple[RecordAsk, ...]
    necessity: Prose
    case_reference: Line
    urgency: Urgency
    created: datetime
    expires: datetime
    identity_evidence: tuple[IdentityEvidence, ...]
    provider: AgencyId | None = None
    break_glass: BreakGlass | None = None

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ValueError("a tier is 0, 1, 2 or 3")
        if not self.created < self.expires <= self.created + MAX_REQUEST_LIFETIME:
            raise ValueError("a request expires after it was created, within thirty days")
        types = [ask.record_type for ask in self.asks]
        if not types or len(set(types)) != len(types):
            raise ValueError("a request asks for at least one record type, each once")
        evidence = [item.field for item in self.identity_evidence]
        if len(set(evidence)) != len(evidence):
            raise ValueError("identity evidence gives a field twice")


@dataclass(frozen=True, slots=True, repr=False)
class Approval(Redacted):
    """`approval/v2`: an officer's yes or no to one request; who it was follows from the key.

    The hash says which request; its id, requester and tier say it to people too.
    """

    KIND: ClassVar[str] = "approval/v2"

    request_hash: Hash256
    request: DocumentId
    requester: AgencyId
    tier: int
    organisation: AgencyId
    role: OfficerRole
    decision: Decision
    reason: Prose
    decided_at: datetime

    def is_about(self, request: DisclosureRequest, request_hash: str) -> bool:
        """Whether everything that it says of its request is true of this one."""
        return (self.request_hash, self.request, self.requester, self.tier) == (
            request_hash,
            request.id,
            request.requester,
            request.tier,
        )


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """What became of one field of one record, and by which clauses; `record` counts within the decision."""

    record: int
    record_type: RecordType
    field: FieldName
    outcome: Outcome
    clauses: tuple[int, ...]
    reason: Line


@dataclass(frozen=True, slots=True, repr=False)
class DisclosureDecision(Redacted):
    """`disclosure-decision/v1`: the record of a decision in the form of Annex B, for refusals too.

    `decided_by` is empty when the policy decided by itself.
    """

    KIND: ClassVar[str] = "disclosure-decision/v1"

    id: DocumentId
    request_hash: Hash256
    policy: PolicyId
    policy_hash: Hash256
    provider: AgencyId
    recipient: AgencyId
    annex_b: AnnexB
    outcomes: tuple[FieldOutcome, ...]
    decided_by: tuple[PersonId, ...]
    approval_hashes: tuple[Hash256, ...]
    reasons: Prose
    requested_at: datetime
    decided_at: datetime
    refusal: RefusalCode | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ReleasedRecord(Redacted):
    """The permitted fields of one record; `id` is random, so that the record can be corrected or recalled."""

    id: DocumentId
    record_type: RecordType
    fields: Mapping[FieldName, FieldValue]


@dataclass(frozen=True, slots=True, repr=False)
class DisclosureRelease(Redacted):
    """`disclosure-release/v1`: the permitted fields and what the recipient must do with them."""

    KIND: ClassVar[str] = "disclosure-release/v1"

    id: DocumentId
    decision_hash: Hash256
    policy: PolicyId
    policy_hash: Hash256
    link_token: LinkTokenText
    provider: AgencyId
    recipient: AgencyId
    released_at: datetime
    purge_after: datetime
    handling_marking: Line
    victim_contact_warning: Prose
    onward_sharing: tuple[AgencyId, ...]
    records: tuple[ReleasedRecord, ...]
    request_hash: Hash256 | None = None

    def __post_init__(self) -> None:
        if self.purge_after <= self.released_at:
            raise ValueError("purge_after must be later than released_at")


@dataclass(frozen=True, slots=True, repr=False)
class DisclosureRefusal(Redacted):
    """`disclosure-refusal/v1`."""

    KIND: ClassVar[str] = "disclosure-refusal/v1"

    id: DocumentId
    request_hash: Hash256
    code: RefusalCode
    message: Prose
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class DisclosureReceipt:
    """`disclosure-receipt/v1`: the recipient's node has the release and will purge it in time."""

    KIND: ClassVar[str] = "disclosure-receipt/v1"

    id: DocumentId
    release_hash: Hash256
    recipient: AgencyId
    received_at: datetime
    purge_after: datetime


@dataclass(frozen=True, slots=True, repr=False)
class LinkRecall(Redacted):
    """`link-recall/v1`: the link behind a token, or the named releases under it, must no longer be relied
    on.
    """

    KIND: ClassVar[str] = "link-recall/v1"

    id: DocumentId
    linkage: LinkageId
    link_token: LinkTokenText
    issuer: AgencyId
    reason: RecallReason
    release_hashes: tuple[Hash256, ...]
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """`erasure-receipt/v1`: what was released has been erased at the recipient."""

    KIND: ClassVar[str] = "erasure-receipt/v1"

    id: DocumentId
    release_hash: Hash256
    recipient: AgencyId
    reason: ErasureReason
    erased_at: datetime
