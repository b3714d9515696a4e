"""What is asked of a policy, and what it answers: plain values, shared by every evaluator.

A decision is one of `Permit | Withhold | NeedsApproval | Deny` and says which clauses made it. `Deny` is the
default, and an error denies.
"""

from dataclasses import dataclass
from enum import StrEnum

from policies.clauses import LINK_EXISTS, LINK_RECORD, Approvals, Clause
from policies.ids import AgencyId, FieldName, Marker, RecordType
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks whom, in which role, for what, up to which tier: the same for every field.

    `approvals` counts the verified approvals in hand. `break_glass` says that a valid emergency claim is in
    hand.
    """

    provider: AgencyId
    recipient: AgencyId
    role: OfficerRole
    purpose: Purpose
    tier: int
    strength: Strength
    consent: Consent
    approvals: Approvals
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class FieldRequest:
    """One field of one record; `markers` are the record's and the field's; an unknown age is None."""

    record_type: RecordType
    field: FieldName
    record_age_days: int | None = None
    markers: frozenset[Marker] = frozenset()

    @property
    def is_existence(self) -> bool:
        """Whether it is that there is a link, and no more."""
        return self.record_type == LINK_RECORD and self.field == LINK_EXISTS


class Builtin(StrEnum):
    """Rules that no clause can undo."""

    SAFE_ADDRESS = "safe address or refuge"
    NAME_WITHHELD = "the provider's name is withheld"
    RECEIVED = "received from another agency, which alone may release it"
    UNKNOWN_MARKER = "marked with a word that the policy does not name"


@dataclass(frozen=True, slots=True)
class Permit:
    """Release, under any of these clauses. `emergency`: only because break-glass waived the approvals."""

    clauses: tuple[int, ...]
    emergency: bool = False

    def __str__(self) -> str:
        how = " (break-glass)" if self.emergency else ""
        return f"released under {_clauses(self.clauses)}{how}"


@dataclass(frozen=True, slots=True)
class Withhold:
    """Do not release, because of these clauses or a built-in rule."""

    clauses: tuple[int, ...]
    builtin: Builtin | None = None

    def __str__(self) -> str:
        return f"withheld: {self.builtin.value}" if self.builtin else f"withheld by {_clauses(self.clauses)}"


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """Release once so many more officers approve; the clause that needs fewest."""

    clauses: tuple[int, ...]
    missing: Approvals

    def __str__(self) -> str:
        provider = (
            f", {self.missing.from_provider} of them from the provider" if self.missing.from_provider else ""
        )
        return f"needs {self.missing.count} more approvals{provider} under {_clauses(self.clauses)}"


class DenyReason(StrEnum):
    """Why nothing allows it."""

    NO_CLAUSE = "no clause releases it"
    NOT_A_PARTY = "provider or recipient is not a party in that capacity"
    NOT_IN_FORCE = "the policy is not in force"
    ONWARD_SHARING = "the policy's obligations allow onward sharing, which is refused"
    TIER_CEILING = "the policy's status allows only a lower tier"
    ERROR = "the policy engine could not decide"


@dataclass(frozen=True, slots=True)
class Deny:
    """Not allowed."""

    reason: DenyReason

    @property
    def clauses(self) -> tuple[int, ...]:
        """No clause speaks to it."""
        return ()

    def __str__(self) -> str:
        return f"denied: {self.reason.value}"


FieldDecision = Permit | Withhold | NeedsApproval | Deny


def missing_approvals(needed: Approvals, given: Approvals) -> Approvals:
    """How many more are needed: in all, and from the provider."""
    from_provider = max(0, needed.from_provider - given.from_provider)
    return Approvals(max(needed.count - given.count, from_provider, 0), from_provider)


def least_approval(clauses: tuple[Clause, ...], given: Approvals) -> NeedsApproval:
    """The clauses among `clauses` whose approvals are nearest to being met."""
    gaps = {clause.number: missing_approvals(clause.approvals, given) for clause in clauses}
    least = min(gaps.values(), key=lambda gap: (gap.count, gap.from_provider))
    return NeedsApproval(tuple(number for number, gap in gaps.items() if gap == least), least)


def _clauses(numbers: tuple[int, ...]) -> str:
    return ("clause " if len(numbers) == 1 else "clauses ") + ", ".join(str(number) for number in numbers)
