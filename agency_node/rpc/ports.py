"""What the control service asks of the services behind it, in domain values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from crypto.audit import AuditAction
from crypto.canonical import JsonValue


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """Canonical JSON for an officer to sign, and its DSSE payload type."""

    payload: bytes = field(repr=False)
    payload_type: str


@dataclass(frozen=True, slots=True)
class PreparedApproval(PreparedDocument):
    """An approval to sign, and canonical JSON of the request that it is about, to be shown before."""

    request: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EmergencyClaim:
    """An officer's claim of an emergency; their key was unlocked with its passphrase just now."""

    reason_code: str
    explanation: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """What an officer wants to ask. Empty `record_types` and `fields` mean all that the policy knows."""

    link_token: str = field(repr=False)
    purpose: str
    tier: int
    necessity: str = field(repr=False)
    case_reference: str
    urgency: str
    record_types: tuple[str, ...]
    fields: tuple[str, ...]
    officer: str
    role: str
    break_glass: EmergencyClaim | None = None


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """What an officer orders: see `agency_node.disclosure.orders.Act`. `target` and `about` may be personal.

    `about` is the subject of a conflict of interest (empty: everybody), or the reason of a recall.
    """

    act: str
    target: str = field(repr=False)
    about: str = field(repr=False)
    reason: str = field(repr=False)
    officer: str
    role: str


@dataclass(frozen=True, slots=True)
class EmergencySummary:
    """A use of break-glass that waits for its review; `overdue` uses suspend their officer."""

    request_id: str
    direction: str
    officer: str
    peer: str
    reason_code: str
    explanation: str = field(repr=False)
    case_reference: str
    used: datetime
    review_due: datetime
    overdue: bool


@dataclass(frozen=True, slots=True)
class SupervisionSummary:
    """A sampled release or an alarm that waits for a supervisor."""

    item_id: str
    kind: str
    request_id: str
    officer: str
    peer: str
    policy_hash: str
    raised: datetime


@dataclass(frozen=True, slots=True)
class ConflictSummary:
    """Who may not ask about whom. Personal data: the subject and the reason are not shown."""

    officer: str
    subject_id: str = field(repr=False)
    reason: str = field(repr=False)
    declared: datetime


@dataclass(frozen=True, slots=True)
class SubjectEntry:
    """One audit entry about a subject, opened. Personal data: the particulars are not shown."""

    seq: int
    time: datetime
    action: AuditAction
    #: The officer, or the agency whose node did it.
    actor: str
    policy_hash: str
    particulars: Mapping[str, JsonValue] = field(repr=False)
    #: Why somebody must decide before the subject is told of this entry.
    exemptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A disclosure request in a list. `direction` is "made" or "received"."""

    request_id: str
    direction: str
    peer: str
    state: str
    tier: int
    purpose: str
    case_reference: str
    created: datetime
    expires: datetime
    approvals: int
    approvals_needed: int


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """What was decided on one field."""

    record_type: str
    field: str
    outcome: str
    clauses: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RequestDetail:
    """A request with its outcome.

    `release` is canonical JSON, for the requester only; `decision` the signed record of the decision (a DSSE
    envelope), for the provider only.
    """

    summary: RequestSummary
    outcomes: tuple[FieldOutcome, ...]
    release: bytes = field(default=b"", repr=False)
    refusal: str = ""
    decision: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a received record came from; whoever copies the record keeps its number."""

    record_id: str
    release_hash: str
    policy_hash: str


@dataclass(frozen=True, slots=True)
class PictureItem:
    """One record about a subject, held here or released to here. Personal data: the fields are not shown."""

    agency_id: str
    record_type: str
    occurred: str
    fields: Mapping[str, str] = field(repr=False)
    withheld: tuple[str, ...] = ()
    request_id: str = ""
    #: None for the agency's own.
    provenance: Provenance | None = None
    #: What its release says of handling it, and of contact with the victim; empty for the agency's own.
    handling_marking: str = ""
    victim_contact_warning: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for somebody: for the status page."""

    requests: int
    approvals: int
    audit_size: int


@dataclass(frozen=True, slots=True)
class LinkageStatus:
    """Where a linkage is: the epoch's state as `agency_node.model.KeyState`, and who is waited for."""

    linkage_id: str
    epoch: int
    epoch_state: str
    subjects: int
    links: int
    waiting_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The status page."""

    agency_id: str
    broker_connected: bool
    registry_version: int
    registry_expires: datetime | None
    linkages: tuple[LinkageStatus, ...]
    waiting: Waiting


class BrokerLog(Protocol):
    """The broker's log, as its witnesses see it."""

    async def checkpoint(self) -> bytes:
        """The newest signed head."""
        ...

    async def consistency_proof(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """That the log of `new_size` begins with that of `old_size`. Raises RefusedError."""
        ...

    def leaves(self, first: int, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Leaves `first` to `end - 1` with their numbers."""
        ...

    async def cosign(self, size: int, cosignature: bytes) -> None:
        """Adds this agency's line to a head."""
        ...


class DisclosureService(Protocol):
    """Disclosure and audit as the control service needs them. Failures are `RefusedError`."""

    async def prepare_request(self, draft: RequestDraft) -> PreparedDocument: ...

    async def submit_request(self, envelope: bytes) -> str: ...

    async def list_requests(self, direction: str) -> Sequence[RequestSummary]: ...

    async def request_summary(self, request_id: str) -> RequestSummary: ...

    async def see_request(self, request_id: str, order: bytes) -> RequestDetail: ...

    async def prepare_approval(
        self, request_id: str, decision: str, reason: str, officer: str, role: str
    ) -> PreparedApproval: ...

    async def submit_approval(self, envelope: bytes) -> str: ...

    async def see_picture(self, order: bytes) -> Sequence[PictureItem]: ...

    async def list_emergencies(self) -> Sequence[EmergencySummary]: ...

    async def prepare_order(self, draft: OrderDraft) -> PreparedDocument: ...

    async def submit_order(self, envelope: bytes) -> str: ...

    async def list_supervision(self) -> Sequence[SupervisionSummary]: ...

    async def list_conflicts(self) -> Sequence[ConflictSummary]: ...

    async def see_report(self, order: bytes) -> Sequence[SubjectEntry]: ...

    def see_audit(self, order: bytes) -> AsyncGenerator[tuple[str, bytes], None]: ...

    async def waiting(self) -> Waiting: ...

    async def keep_house(self) -> None:
        """Called every minute: what time alone makes due."""
        ...

    async def watch_broker(self, log: BrokerLog) -> None:
        """Called every few minutes: cosigns the broker's newest head, or raises an alarm about it."""
        ...

    def close(self) -> None:
        """Closes what the service holds open; called once, when nothing is under way any more."""
        ...
