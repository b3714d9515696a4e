"""What officers order beyond asking and approving, each signed with their own key and audited.

Withdrawing a request, taking back or correcting a release, erasing a subject, signing off what a supervisor
was shown, and the list of conflicts of interest: one signed form, `officer-order/v1`, and one place that says
which roles may give it. `agency_node.disclosure.order_service` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.disclosure import Redacted
from policies.errors import PolicyError
from policies.ids import AgencyId, DocumentId, Line, PersonId, Prose
from policies.registry import Registry
from policies.signing import CLOCK_SKEW, signing_officer
from policies.vocabulary import OfficerRole
from protos.wire.errors import ErrorCode, RefusedError

#: An order counts for so long after it was signed.
FRESH = timedelta(minutes=15)
#: That it was carried out is remembered for longer, for clocks are set back now and then.
REMEMBERED = timedelta(days=1)

_PRIVACY = frozenset(
    {
        OfficerRole.SIRO,
        OfficerRole.DPO,
        OfficerRole.PRIVACY_OFFICER,
        OfficerRole.CALDICOTT_GUARDIAN,
    }
)
OVERSIGHT = _PRIVACY | {OfficerRole.SUPERVISOR}


class Act(StrEnum):
    """What can be ordered."""

    WITHDRAW_REQUEST = "withdraw-request"
    RECALL_RELEASE = "recall-release"
    CORRECT_RELEASE = "correct-release"
    ERASE_SUBJECT = "erase-subject"
    SIGN_OFF = "sign-off"
    DECLARE_CONFLICT = "declare-conflict"
    LIFT_CONFLICT = "lift-conflict"
    SEE_PICTURE = "see-picture"
    SEE_REQUEST = "see-request"
    SEE_REPORT = "see-report"
    EXPORT_AUDIT = "export-audit"


#: What an order opens to its officer rather than changes: see `agency_node.disclosure.viewing`.
SEEING = frozenset({Act.SEE_PICTURE, Act.SEE_REQUEST, Act.SEE_REPORT, Act.EXPORT_AUDIT})


#: Who may order what. Withdrawing and declaring are open to everybody in post: each act adds whose it may be.
ALLOWED: dict[Act, frozenset[OfficerRole]] = {
    Act.WITHDRAW_REQUEST: frozenset(OfficerRole),
    Act.RECALL_RELEASE: OVERSIGHT | {OfficerRole.IAO, OfficerRole.APPROVER},
    Act.CORRECT_RELEASE: OVERSIGHT | {OfficerRole.IAO, OfficerRole.APPROVER},
    Act.ERASE_SUBJECT: _PRIVACY,
    Act.SIGN_OFF: OVERSIGHT,
    Act.DECLARE_CONFLICT: frozenset(OfficerRole),
    Act.LIFT_CONFLICT: OVERSIGHT,
    Act.SEE_PICTURE: frozenset(OfficerRole),
    Act.SEE_REQUEST: frozenset(OfficerRole),
    Act.SEE_REPORT: OVERSIGHT,
    Act.EXPORT_AUDIT: OVERSIGHT,
}


@dataclass(frozen=True, slots=True, repr=False)
class OfficerOrder(Redacted):
    """`officer-order/v1`, signed by an officer of the node's own agency; it never leaves the node."""

    KIND: ClassVar[str] = "officer-order/v1"

    id: DocumentId
    organisation: AgencyId
    officer: PersonId
    role: OfficerRole
    act: Act
    target: Line
    reason: Prose
    ordered_at: datetime
    about: Line | None = None


def claimed_order(data: bytes) -> OfficerOrder | None:
    """What an order says, whoever signed it; None where it is none."""
    try:
        return open_document(OfficerOrder, Envelope.from_bytes(data))
    except (CryptoError, PolicyError):
        return None


def verified_order(
    data: bytes, registry: Registry, me: AgencyId, now: datetime
) -> tuple[Envelope, OfficerOrder]:
    """A fresh order of an officer of this agency, signed with their key.

    Raises:
        RefusedError: INVALID_ARGUMENT, SIGNATURE_INVALID, ACTING_FOR_ANOTHER.
    """
    try:
        envelope = Envelope.from_bytes(data)
        order = open_document(OfficerOrder, envelope)
        officer = signing_officer(envelope, registry)
    except (CryptoError, PolicyError) as error:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"not a signed order: {error}") from None
    if officer is None or officer.person != order.officer or officer.organisation != order.organisation:
        raise RefusedError(ErrorCode.SIGNATURE_INVALID, "the order is not signed by the officer it names")
    if order.organisation != me:
        raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "the order was given at another agency")
    if not now - FRESH <= order.ordered_at <= now + CLOCK_SKEW:
        raise RefusedError(ErrorCode.INVALID_ARGUMENT, "the order is too old: give it again")
    return envelope, order


def require_post(order: OfficerOrder, registry: Registry, now: datetime) -> None:
    """The officer must hold the role that they name. Raises RefusedError: OFFICER_UNKNOWN."""
    held = [item for item in registry.officers_of(order.organisation) if item.person == order.officer]
    role = order.role.value.replace("_", " ")
    if not any(order.role in item.roles and item.valid_at(now) for item in held):
        raise RefusedError(
            ErrorCode.OFFICER_UNKNOWN, f"the registry does not list {order.officer} here as {role}"
        )


def require_role(order: OfficerOrder) -> None:
    """The role must be one that may order this. Raises RefusedError: NOT_ALLOWED."""
    if order.role not in ALLOWED[order.act]:
        role = order.role.value.replace("_", " ")
        raise RefusedError(
            ErrorCode.NOT_ALLOWED, f"a {role} may not order this ({order.act.value.replace('-', ' ')})"
        )
