"""What may be asked under a policy, and whether an answer is one to what was asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from agency_node.rpc.ports import RequestDraft
from policies.clauses import NO_APPROVALS, PROTECTED_FIELDS, Approvals, Clause
from policies.disclosure import (
    DisclosureRelease,
    DisclosureRequest,
    RecordAsk,
    Urgency,
)
from policies.ids import (
    AgencyId,
    FieldName,
    PersonId,
    RecordType,
)
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.signing import CLOCK_SKEW
from policies.vocabulary import OfficerRole, Purpose
from protos.wire.errors import ErrorCode, RefusedError

#: How long a request stays open.
LIFETIMES = {
    Urgency.ROUTINE: timedelta(days=7),
    Urgency.URGENT: timedelta(days=2),
    Urgency.IMMEDIATE: timedelta(hours=12),
}


def words_of(draft: RequestDraft) -> tuple[PersonId, OfficerRole, Purpose, Urgency]:
    try:
        return (
            PersonId(draft.officer),
            OfficerRole(draft.role),
            Purpose(draft.purpose),
            Urgency(draft.urgency or Urgency.ROUTINE),
        )
    except ValueError as error:
        raise RefusedError(ErrorCode.REQUEST_INVALID, f"the request cannot be understood: {error}") from None


def require_officer(
    registry: Registry, agency: AgencyId, person: PersonId, role: OfficerRole, now: datetime
) -> None:
    keys = [item for item in registry.officers_of(agency) if item.person == person]
    if not any(role in item.roles and item.valid_at(now) for item in keys):
        raise RefusedError(
            ErrorCode.OFFICER_UNKNOWN,
            f"the registry does not list {person} at {agency} as {role.value.replace('_', ' ')}",
        )


def _applicable(
    policy: SharingPolicy,
    provider: AgencyId,
    recipient: AgencyId,
    role: OfficerRole,
    purpose: Purpose,
    tier: int,
) -> Iterator[Clause]:
    for clause in policy.releases:
        if (
            clause.tier <= tier
            and provider in clause.providers
            and recipient in clause.recipients
            and role in clause.officer_roles
            and purpose in clause.purposes
        ):
            yield clause


def asks_of(
    policy: SharingPolicy,
    provider: AgencyId,
    recipient: AgencyId,
    role: OfficerRole,
    purpose: Purpose,
    draft: RequestDraft,
) -> tuple[RecordAsk, ...]:
    """What is asked for: by default all that the policy knows at this tier, narrowed by the draft's lists."""
    if purpose not in policy.purposes:
        allowed = ", ".join(item.value for item in policy.purposes)
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, f"the policy is not for this purpose, but for {allowed}"
        )
    if PROTECTED_FIELDS & set(draft.fields):
        raise RefusedError(ErrorCode.REQUEST_INVALID, "a safe address can never be asked for")
    known: dict[RecordType, dict[FieldName, None]] = {}
    for clause in _applicable(policy, provider, recipient, role, purpose, draft.tier):
        for record_type in clause.record_types:
            known.setdefault(record_type, {}).update(dict.fromkeys(clause.fields))
    if not known:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID,
            f"no clause of policy {policy.id} lets this role ask {provider} for this purpose at tier"
            f" {draft.tier}",
        )
    wanted_types = set(draft.record_types) or set(known)
    asks = []
    for record_type, fields in known.items():
        names = tuple(name for name in fields if not draft.fields or name in draft.fields)
        if record_type in wanted_types and names:
            asks.append(RecordAsk(record_type, names))
    if not asks:
        raise RefusedError(ErrorCode.REQUEST_INVALID, "the policy knows none of these fields")
    return tuple(asks)


def approvals_needed(
    policy: SharingPolicy, provider: AgencyId, recipient: AgencyId, request: DisclosureRequest
) -> Approvals:
    """How many approvals the most demanding field asked for needs, for the list of requests."""
    clauses = list(_applicable(policy, provider, recipient, request.role, request.purpose, request.tier))
    needed = [NO_APPROVALS]
    for ask in request.asks:
        for name in ask.fields:
            fitting = [
                clause.approvals
                for clause in clauses
                if ask.record_type in clause.record_types and name in clause.fields
            ]
            if fitting:
                needed.append(min(fitting, key=lambda item: (item.count, item.from_provider)))
    return max(needed, key=lambda item: item.count)


def built(make: Callable[[], DisclosureRequest]) -> DisclosureRequest:
    try:
        return make()
    except ValueError as error:
        raise RefusedError(ErrorCode.REQUEST_INVALID, f"the request is not complete: {error}") from None


def require_case_reference(policy: SharingPolicy, request: DisclosureRequest) -> None:
    if policy.safeguards.case_reference_required and not any(map(str.isalnum, request.case_reference)):
        raise RefusedError(ErrorCode.REQUEST_INVALID, "the policy requires a case reference")


def require_emergency(policy: SharingPolicy, role: OfficerRole, draft: RequestDraft) -> None:
    """A claim of break-glass must be one that the policy knows. Raises RefusedError: REQUEST_INVALID."""
    claim, rules = draft.break_glass, policy.emergency
    if claim is None:
        return
    if rules is None:
        raise RefusedError(ErrorCode.REQUEST_INVALID, "the policy knows no break-glass")
    if claim.reason_code not in rules.reason_codes:
        codes = ", ".join(f'"{item}"' for item in rules.reason_codes)
        raise RefusedError(ErrorCode.REQUEST_INVALID, f"the policy's reasons for break-glass are {codes}")
    if role not in rules.officer_roles or draft.tier > rules.max_tier:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, "the policy gives this role no break-glass at this tier"
        )


def require_fitting(
    release: DisclosureRelease,
    request: DisclosureRequest,
    recipient: AgencyId,
    provider: AgencyId,
) -> None:
    """A release must be the answer to this very request, with nothing in it that was not asked for."""
    same = (release.provider, release.recipient) == (provider, recipient) and (
        release.policy_hash,
        release.link_token,
    ) == (request.policy_hash, request.link_token)
    asked = {(ask.record_type, name) for ask in request.asks for name in ask.fields}
    given = {(record.record_type, name) for record in release.records for name in record.fields}
    if not same or not given <= asked or release.released_at < request.created - CLOCK_SKEW:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, "a release does not fit the request that it answers; it was not kept"
        )
