"""What changes between two versions of a policy: which decisions, not which words.

Every case of the common domain is decided under both versions, with all the approvals that could be asked for
counted as absent, so that a loosened approval shows. Cases that differ only in strength, consent, age or
markers are folded into one line that says how many of them changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.access import Asker, FieldDecision, FieldRequest, NeedsApproval, Permit, Withhold
from policies.clauses import (
    BUILT_IN_MARKERS,
    NO_APPROVALS,
    PROTECTED_FIELDS,
    Approvals,
    Clause,
)
from policies.domain import OTHER_FIELD, OTHER_RECORD, Domain, domain_of
from policies.ids import AgencyId, FieldName, RecordType
from policies.reference import reference_decision
from policies.sharing import SharingPolicy
from policies.status import MAX_TIER
from policies.vocabulary import OfficerRole, Purpose

#: What two versions can see of an asker or of a field; equal kinds get equal decisions.
_Kind = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose decision about what: the coordinates by which people discuss a policy."""

    provider: AgencyId
    recipient: AgencyId
    role: OfficerRole
    purpose: Purpose
    record_type: RecordType
    field: FieldName
    tier: int


class OutcomeKind(StrEnum):
    """What happens to a field, clause numbers apart."""

    DENY = "deny"
    WITHHOLD = "withhold"
    NEEDS_APPROVAL = "needs approval"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision without its clause numbers, which may change without effect."""

    kind: OutcomeKind
    approvals: Approvals = NO_APPROVALS

    @property
    def openness(self) -> tuple[int, int, int]:
        """Rises as somebody learns more, or learns it with fewer approvals."""
        level = {OutcomeKind.RELEASE: 2, OutcomeKind.NEEDS_APPROVAL: 1}.get(self.kind, 0)
        return (level, -self.approvals.count, -self.approvals.from_provider)

    def __str__(self) -> str:
        if self.kind is not OutcomeKind.NEEDS_APPROVAL:
            return self.kind.value
        return f"needs {self.approvals.count} approvals, {self.approvals.from_provider} from the provider"


@dataclass(frozen=True, slots=True)
class Change:
    """How decisions on a subject change; `cases` counts the circumstances in which they do."""

    subject: Subject
    before: Outcome
    after: Outcome
    cases: int

    @property
    def loosens(self) -> bool:
        """Whether somebody learns more, or learns it with fewer approvals."""
        return self.after.openness > self.before.openness

    def __str__(self) -> str:
        at = self.subject
        who = f"{at.recipient} as {at.role.value} for {at.purpose.value} at tier {at.tier}"
        return f"{who}, {at.record_type}.{at.field} of {at.provider}: {self.before} -> {self.after}"


def diff(old: SharingPolicy, new: SharingPolicy) -> tuple[Change, ...]:
    """Every changed decision, in the order of the domain. Empty if the versions decide alike everywhere."""
    found: dict[tuple[Subject, Outcome, Outcome], int] = {}
    for subject, before, after in _changed_cases(old, new, domain_of(old, new, merge_alike=False)):
        key = (subject, before, after)
        found[key] = found.get(key, 0) + 1
    return tuple(Change(subject, before, after, cases) for (subject, before, after), cases in found.items())


def _changed_cases(
    old: SharingPolicy, new: SharingPolicy, domain: Domain
) -> Iterator[tuple[Subject, Outcome, Outcome]]:
    """Every case, in the order of the domain, that the versions decide differently.

    Askers that the clauses of both versions cannot tell apart are one kind, and so are fields; each pair of
    kinds is decided once.
    """
    items = [
        item for item in domain.requests if item.record_type != OTHER_RECORD and item.field != OTHER_FIELD
    ]
    by_kind: dict[_Kind, list[int]] = {}
    for place, item in enumerate(items):
        by_kind.setdefault(_item_kind(old, new, item), []).append(place)
    changed: dict[_Kind, list[tuple[int, Outcome, Outcome]]] = {}
    for asker in domain.askers():
        if asker.approvals != NO_APPROVALS:
            continue
        kind = _asker_kind(old, new, asker)
        if kind not in changed:
            changed[kind] = _changed_items(old, new, asker, items, by_kind)
        for place, before, after in changed[kind]:
            yield _subject(asker, items[place]), before, after


def _changed_items(
    old: SharingPolicy,
    new: SharingPolicy,
    asker: Asker,
    items: Sequence[FieldRequest],
    by_kind: Mapping[_Kind, Sequence[int]],
) -> list[tuple[int, Outcome, Outcome]]:
    """What changes for one kind of asker: places among the items, rising."""
    found: list[tuple[int, Outcome, Outcome]] = []
    for places in by_kind.values():
        item = items[places[0]]
        before, after = (outcome(reference_decision(p, asker, item, MAX_TIER)) for p in (old, new))
        if before != after:
            found += [(place, before, after) for place in places]
    return sorted(found, key=lambda change: change[0])


def _asker_kind(old: SharingPolicy, new: SharingPolicy, asker: Asker) -> _Kind:
    """All that either version can see of an asker: which clauses could speak to it, and its standing."""
    kind: list[bool] = []
    for policy in (old, new):
        party = policy.party(asker.provider)
        kind += (
            asker.provider in policy.providers,
            asker.recipient in policy.recipients,
            party is not None and party.name_withheld,
            asker.tier == 0,
        )
        kind += [
            clause.tier <= asker.tier
            and (not clause.providers or asker.provider in clause.providers)
            and (not clause.recipients or asker.recipient in clause.recipients)
            and (not clause.officer_roles or asker.role in clause.officer_roles)
            and (not clause.purposes or asker.purpose in clause.purposes)
            and (not clause.conditions.consent or asker.consent in clause.conditions.consent)
            and asker.strength.rank >= _least_rank(clause)
            for clause in policy.clauses
        ]
    return tuple(kind)


def _item_kind(old: SharingPolicy, new: SharingPolicy, item: FieldRequest) -> _Kind:
    """All that either version can see of a field: which clauses could speak of it, and the fixed rules."""
    age, kind = item.record_age_days, [item.field in PROTECTED_FIELDS, item.is_existence]
    kind.append(not BUILT_IN_MARKERS.isdisjoint(item.markers))
    for policy in (old, new):
        kind.append(item.markers <= policy.named_markers)
        for clause in policy.clauses:
            limits = clause.conditions
            most, older = limits.max_record_age_days, limits.older_than_days
            kind.append(
                (not clause.record_types or item.record_type in clause.record_types)
                and (not clause.fields or item.field in clause.fields)
                and (most is None or (age is not None and age <= most))
                and (older is None or age is None or age > older)
                and (limits.markers is None or bool(item.markers & set(limits.markers)))
            )
    return tuple(kind)


def _least_rank(clause: Clause) -> int:
    least = clause.conditions.minimum_strength
    return 0 if least is None else least.rank


def outcome(decision: FieldDecision) -> Outcome:
    """What a decision comes to."""
    match decision:
        case Permit():
            return Outcome(OutcomeKind.RELEASE)
        case NeedsApproval():
            return Outcome(OutcomeKind.NEEDS_APPROVAL, decision.missing)
        case Withhold():
            return Outcome(OutcomeKind.WITHHOLD)
    return Outcome(OutcomeKind.DENY)


def _subject(asker: Asker, item: FieldRequest) -> Subject:
    return Subject(
        asker.provider, asker.recipient, asker.role, asker.purpose, item.record_type, item.field, asker.tier
    )
