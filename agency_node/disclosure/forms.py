"""The decision record in the form of the ICO Data Sharing Code's Annex B, and what a refusal says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from crypto.envelope import Envelope
from policies.annexb import Requester, fill_annex_b
from policies.disclosure import DisclosureDecision, DisclosureRequest, FieldOutcome, RefusalCode
from policies.errors import DocumentError
from policies.ids import AgencyId, DocumentId, Hash256, PersonId, Prose
from policies.sharing import SharingPolicy

_WORDS = {
    RefusalCode.NOT_AVAILABLE: (
        "Nothing can be released. This neither confirms nor denies that anything is held. If you expected"
        " something, check names, date of birth and NHS number in your own record, or speak to the agency."
    ),
    RefusalCode.NOT_PERMITTED: "The request is not permitted.",
    RefusalCode.POLICY_NOT_IN_FORCE: "The sharing policy is not in force at the agency that was asked.",
    RefusalCode.REQUEST_EXPIRED: "The request's time was up before it could be answered. Ask again.",
    RefusalCode.REQUEST_WITHDRAWN: "The request was withdrawn.",
    RefusalCode.LIMIT_REACHED: "The policy's limit of requests for today is reached. Ask again tomorrow.",
    RefusalCode.CONFLICT_OF_INTEREST: "The officer may not ask about this person.",
}


def refusal_words(code: RefusalCode) -> Prose:
    """The same words for the same code, always. Codes that stay on the provider's own record have none."""
    return Prose(_WORDS[code])


def decision_record(
    decision_id: DocumentId,
    request: DisclosureRequest,
    request_hash: Hash256,
    policy: SharingPolicy,
    provider: AgencyId,
    approvals: Sequence[Envelope],
    approvers: tuple[PersonId, ...],
    now: datetime,
    *,
    outcomes: tuple[FieldOutcome, ...],
    reasons: str,
    refusal: RefusalCode | None,
) -> DisclosureDecision:
    """The record of a decision, for a refusal too. Raises DocumentError if the provider is no party."""
    party = policy.party(provider)
    if party is None:
        raise DocumentError(f"{provider} is not a party to the policy")
    return DisclosureDecision(
        id=decision_id,
        request_hash=request_hash,
        policy=policy.id,
        policy_hash=request.policy_hash,
        provider=provider,
        recipient=request.requester,
        annex_b=fill_annex_b(
            policy,
            party,
            Requester(request.requester, request.officer, request.role),
            request.purpose,
            tuple((ask.record_type, name) for ask in request.asks for name in ask.fields),
            request.necessity,
            request.case_reference,
        ),
        outcomes=outcomes,
        decided_by=approvers,
        approval_hashes=tuple(Hash256(item.digest) for item in approvals),
        reasons=Prose(reasons),
        requested_at=request.created,
        decided_at=now,
        refusal=refusal,
    )
