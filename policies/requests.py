"""Who asked, and who approved: the signatures on a disclosure request and on approvals of it.

A request carries two signatures, its officer's and its node's, in one envelope. An approval carries its
officer's. An approver is never the requester, belongs to the provider or the recipient, and counts once,
whatever number of keys. A rejection takes back the same officer's approval, and nothing takes back a
rejection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from crypto.envelope import Envelope, sign_envelope, verified_keys
from crypto.keys import Signer
from policies.access import Asker
from policies.clauses import Approvals
from policies.codec import open_document, payload_type, write
from policies.disclosure import Approval, DisclosureRequest
from policies.errors import DuplicateKeyError, RequestError
from policies.ids import AgencyId, Hash256, PersonId
from policies.quorum import role_title
from policies.registry import Officer, Registry
from policies.signing import CLOCK_SKEW, signing_officer
from policies.vocabulary import Consent, Decision, OfficerRole, Strength

APPROVER_ROLES = frozenset(
    {
        OfficerRole.APPROVER,
        OfficerRole.SUPERVISOR,
        OfficerRole.SIRO,
        OfficerRole.IAO,
        OfficerRole.CALDICOTT_GUARDIAN,
    }
)


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose officer and node are who they say, at the moment of checking."""

    request: DisclosureRequest
    hash: Hash256
    officer: Officer

    def asker(
        self,
        provider: AgencyId,
        strength: Strength,
        consent: Consent,
        approvals: Approvals,
        *,
        break_glass: bool,
    ) -> Asker:
        """The request as the evaluator takes it; `break_glass` once the claim in it has been accepted."""
        asked = self.request
        return Asker(
            provider,
            asked.requester,
            asked.role,
            asked.purpose,
            asked.tier,
            strength,
            consent,
            approvals,
            break_glass,
        )


@dataclass(frozen=True, slots=True)
class ApprovalTally:
    """The approvals that count, why others do not, and who said no."""

    approvals: Approvals
    approvers: tuple[PersonId, ...]
    refused: tuple[str, ...]
    rejected_by: tuple[PersonId, ...]


def sign_request(request: DisclosureRequest, officer: Signer, node: Signer) -> Envelope:
    """The request signed by its officer and its node."""
    return sign_envelope(payload_type(DisclosureRequest), write(request), [officer, node])


def sign_approval(approval: Approval, officer: Signer) -> Envelope:
    """The approval signed by its officer."""
    return sign_envelope(payload_type(Approval), write(approval), [officer])


def verify_request(envelope: Envelope, registry: Registry, now: datetime) -> VerifiedRequest:
    """Check both signatures, role, post and times; raises RequestError and SignatureError."""
    request = open_document(DisclosureRequest, envelope)
    agency = registry.agency(request.requester)
    if agency is None:
        raise RequestError(f"{request.requester} is not in the registry")
    if agency.node_verify_key not in verified_keys(envelope, [agency.node_verify_key]):
        raise RequestError(f"the request is not signed by the node of {request.requester}")
    keys = verified_keys(envelope, registry.officer_keys)
    officers = [item for item in registry.officers if item.verify_key in keys]
    if len(officers) != 1 or officers[0].person != request.officer:
        raise RequestError("the request is not signed by the officer who makes it, and by no other")
    officer = officers[0]
    if officer.organisation != request.requester:
        raise RequestError("the officer does not belong to the agency that asks")
    if request.role not in officer.roles:
        raise RequestError(f"the registry does not give the officer the role of {role_title(request.role)}")
    if not officer.valid_at(now):
        raise RequestError("the officer is no longer in post")
    if request.created > now + CLOCK_SKEW:
        raise RequestError("the request is dated in the future: check the clocks")
    if now >= request.expires:
        raise RequestError("the request has expired: ask again")
    return VerifiedRequest(request, Hash256(envelope.digest), officer)


def tally_approvals(
    verified: VerifiedRequest,
    provider: AgencyId,
    envelopes: Sequence[Envelope],
    registry: Registry,
    now: datetime,
) -> ApprovalTally:
    """Count the approvals of one request, in the order in which they came.

    Raises SignatureError, DocumentError, and DuplicateKeyError where a key said the same twice.
    """
    approvers: dict[PersonId, AgencyId] = {}
    refused: list[str] = []
    rejected: list[PersonId] = []
    seen: set[tuple[str, Decision]] = set()
    for envelope in envelopes:
        approval = open_document(Approval, envelope)
        officer = signing_officer(envelope, registry)
        if officer is None:
            refused.append("an approval is signed by a key that the registry does not list")
            continue
        said = (officer.verify_key.key_id, approval.decision)
        late = approval.decision is Decision.APPROVE and officer.person in rejected
        if said in seen and not late:
            done = "approved" if approval.decision is Decision.APPROVE else "rejected"
            raise DuplicateKeyError(f"the key of {officer.person} {done} twice")
        seen.add(said)
        reason = _objection(verified, provider, approval, officer, now)
        if late:
            reason = "the officer has rejected the request; it must be asked anew"
        if reason is not None:
            refused.append(f"the approval of {officer.person} does not count: {reason}")
        elif approval.decision is Decision.REJECT:
            rejected.append(officer.person)
            approvers.pop(officer.person, None)
        elif officer.person not in approvers or officer.organisation == provider:
            approvers[officer.person] = officer.organisation
    from_provider = sum(agency == provider for agency in approvers.values())
    return ApprovalTally(
        Approvals(min(len(approvers), 9), min(from_provider, 9)),
        tuple(approvers),
        tuple(refused),
        tuple(rejected),
    )


def _objection(
    verified: VerifiedRequest, provider: AgencyId, approval: Approval, officer: Officer, now: datetime
) -> str | None:
    request = verified.request
    if not approval.is_about(request, verified.hash):
        return "it is about another request"
    if officer.person == request.officer:
        return "nobody approves a request of their own"
    if approval.organisation != officer.organisation or officer.organisation not in (
        provider,
        request.requester,
    ):
        return "the officer belongs neither to the provider nor to the recipient"
    if approval.role not in officer.roles or approval.role not in APPROVER_ROLES:
        return f"the officer may not approve as {role_title(approval.role)}"
    if not officer.valid_at(now):
        return "the officer is no longer in post"
    if not request.created - CLOCK_SKEW <= approval.decided_at <= now + CLOCK_SKEW:
        return "it is not dated between the request and now"
    return None
