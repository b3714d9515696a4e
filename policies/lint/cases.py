"""The cases that decide what a clause is good for: its part of the policy's finite domain, as nodes meet it.

With every approval in hand a release clause permits or not, whatever the other release clauses say. So it is
tried out together with the withhold clauses that could speak to the same fields, and no others: the domain of
so few clauses is small. It is narrowed further to what the clauses list, and in each dimension that can only
open or only close to the value that opens most: a strong link, the lowest tier that the clauses speak to.

Beyond the evaluator, three things decide what can be asked at all. A link has the age 0 and no recorded
consent, and of markers only those of its subject. A provider whose name is withheld is told of at
tier 0, and its node answers no request (docs/adr/0004). And a record is rarely asked for on the day of its
date, so that day is left out unless it is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from policies.access import Asker, FieldRequest
from policies.clauses import LINK_AGENCY, LINK_EXISTS, LINK_RECORD, Approvals, Clause
from policies.domain import Domain, domain_of
from policies.ids import AgencyId
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent, Strength

_EVERY_APPROVAL = Approvals(9, 9)
Case = tuple[Asker, FieldRequest]


def concerning(
    policy: SharingPolicy, *clauses: Clause, beside: Sequence[Clause] | None = None
) -> SharingPolicy:
    """The policy without all clauses but these, and those of `beside` (if nothing is said, the withhold
    clauses) that could speak to the same.
    """
    others = policy.withholds if beside is None else beside
    kept = {clause.number for clause in clauses} | {
        item.number for item in others if all(overlaps(item, clause) for clause in clauses)
    }
    return replace(policy, clauses=tuple(item for item in policy.clauses if item.number in kept))


def overlaps(one: Clause, other: Clause) -> bool:
    """Whether the two could speak to the same field, conditions apart."""
    return all(not a or not b or bool(set(a) & set(b)) for a, b in zip(one.lists, other.lists, strict=True))


def narrowed(policy: SharingPolicy, *clauses: Clause) -> Domain:
    """What of the policy's domain all these clauses speak to, at the lowest tier at which they do."""
    domain = domain_of(policy)

    def listed(value: str, read: Callable[[Clause], Sequence[str]]) -> bool:
        return all(not read(clause) or value in read(clause) for clause in clauses)

    return replace(
        domain,
        pairs=tuple(
            pair
            for pair in domain.pairs
            if listed(pair[0], lambda item: item.providers) and listed(pair[1], lambda item: item.recipients)
        ),
        roles=tuple(role for role in domain.roles if listed(role, lambda item: item.officer_roles)),
        purposes=tuple(value for value in domain.purposes if listed(value, lambda item: item.purposes)),
        tiers=(max(clause.tier for clause in clauses),),
        strengths=(Strength.STRONG,),
        consents=tuple(Consent),
        approvals=(_EVERY_APPROVAL,),
        requests=tuple(
            item
            for item in domain.requests
            if listed(item.record_type, lambda clause: clause.record_types)
            and listed(item.field, lambda clause: clause.fields)
        ),
    )


def unmarked(domain: Domain) -> Domain:
    """Without markers, which can only withhold."""
    return replace(domain, requests=tuple(item for item in domain.requests if not item.markers))


def parts(clause: Clause, domain: Domain) -> Iterator[tuple[str, str, Domain]]:
    """For each value that a release clause lists: its dimension, the value, and the domain with it alone."""
    for provider in clause.providers:
        yield "providers", provider, replace(domain, pairs=_pairs((provider,), clause.recipients))
    for recipient in clause.recipients:
        yield "recipients", recipient, replace(domain, pairs=_pairs(clause.providers, (recipient,)))
    for role in clause.officer_roles:
        yield "officer_roles", role, replace(domain, roles=(role,))
    for purpose in clause.purposes:
        yield "purposes", purpose, replace(domain, purposes=(purpose,))
    for kind in clause.record_types:
        found = (replace(item, record_type=kind) for item in domain.requests)
        yield "record_types", kind, replace(domain, requests=tuple(dict.fromkeys(found)))
    for field in clause.fields:
        found = (replace(item, field=field) for item in domain.requests)
        yield "fields", field, replace(domain, requests=tuple(dict.fromkeys(found)))


def cases(policy: SharingPolicy, domain: Domain, *, today: bool = False) -> Iterator[Case]:
    """Every case of a narrowed domain that can come up; with `today`, records of this very day too."""
    hidden = {party.agency for party in policy.parties if party.name_withheld}
    items = _met(domain.requests, today)
    for asker in domain.askers():
        for item in items:
            link = item.record_type == LINK_RECORD
            if link and asker.consent is not Consent.NOT_RECORDED:
                continue
            if asker.provider in hidden and not (link and asker.tier == 0):
                continue
            yield asker, item


def _met(requests: Sequence[FieldRequest], today: bool) -> tuple[FieldRequest, ...]:
    found: dict[FieldRequest, None] = {}
    for item in requests:
        if item.record_type == LINK_RECORD:
            if item.field in (LINK_EXISTS, LINK_AGENCY):
                found[FieldRequest(LINK_RECORD, item.field, 0, item.markers)] = None
        elif today or item.record_age_days != 0:
            found[item] = None
    return tuple(found)


def _pairs(
    providers: Sequence[AgencyId], recipients: Sequence[AgencyId]
) -> tuple[tuple[AgencyId, AgencyId], ...]:
    return tuple((one, other) for one, other in product(providers, recipients) if one != other)
