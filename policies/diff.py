"""What changes between two versions of a policy: which decisions, not which words.

Every case of the common domain is decided under both versions, with all the approvals that could be asked for
counted as absent, so that a loosened approval shows. Cases that differ only in strength, consent, age or
markers are folded into one line that says how many of them changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from policies.access import Asker, FieldDecision, FieldRequest, NeedsApproval, Permit, Withhold
from policies.clauses import NO_APPROVALS, Approvals
from policies.domain import OTHER_FIELD, OTHER_RECORD, Domain, domain_of
from policies.ids import AgencyId, FieldName, RecordType
from policies.reference import reference_decision
from policies.sharing import SharingPolicy
from policies.status import MAX_TIER
from policies.vocabulary import OfficerRole, Purpose


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
    for asker in domain.askers():
        if asker.approvals != NO_APPROVALS:
            continue
        for item in domain.requests:
            if item.record_type == OTHER_RECORD or item.field == OTHER_FIELD:
                continue
            before, after = (outcome(reference_decision(p, asker, item, MAX_TIER)) for p in (old, new))
            if before != after:
                yield _subject(asker, item), before, after


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
