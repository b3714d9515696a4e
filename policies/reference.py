"""What the clauses mean, in a dozen lines of plain Python: the specification that the Cedar evaluator must
agree with.

Nothing is released on its word; tests and the simulator compare the two on the whole finite domain of a
policy.
"""

from policies.access import (
    Asker,
    Builtin,
    Deny,
    DenyReason,
    FieldDecision,
    FieldRequest,
    NeedsApproval,
    Permit,
    Withhold,
)
from policies.clauses import PROTECTED_FIELDS, PROTECTED_MARKERS, Approvals, Clause
from policies.sharing import SharingPolicy
from policies.vocabulary import Effect


def reference_decision(
    policy: SharingPolicy, asker: Asker, item: FieldRequest, ceiling: int | None
) -> FieldDecision:
    """The decision on one field."""
    if ceiling is None:
        return Deny(DenyReason.NOT_IN_FORCE)
    if policy.obligations.onward_sharing:
        return Deny(DenyReason.ONWARD_SHARING)
    if len({asker.provider, asker.recipient}) < 2 or not (
        {asker.provider} <= set(policy.providers) and {asker.recipient} <= set(policy.recipients)
    ):
        return Deny(DenyReason.NOT_A_PARTY)
    if item.field in PROTECTED_FIELDS or not PROTECTED_MARKERS.isdisjoint(item.markers):
        return Withhold((), Builtin.SAFE_ADDRESS)
    if "received" in item.markers:
        return Withhold((), Builtin.RECEIVED)
    if any(
        all(marker not in (c.conditions.markers or ()) for c in policy.clauses) for marker in item.markers
    ):
        return Withhold((), Builtin.UNKNOWN_MARKER)
    hidden = any(p.agency == asker.provider and p.name_withheld for p in policy.parties)
    if hidden and (asker.tier, item.record_type, item.field) != (0, "link", "exists"):
        return Withhold((), Builtin.NAME_WITHHELD)
    applying = [clause for clause in policy.clauses if applies(clause, asker, item, ceiling)]
    if withheld := [clause.number for clause in applying if clause.effect is Effect.WITHHOLD]:
        return Withhold(tuple(withheld))
    if not applying:
        return Deny(DenyReason.NO_CLAUSE if asker.tier <= ceiling else DenyReason.TIER_CEILING)
    gaps = [(clause, *_gap(clause.approvals, asker.approvals)) for clause in applying]
    if approved := [clause.number for clause, count, provider in gaps if count == provider == 0]:
        return Permit(tuple(approved))
    rules = policy.emergency
    waivable = asker.break_glass and rules is not None and asker.role in rules.officer_roles
    if waived := [c.number for c in applying if waivable and rules is not None and c.tier <= rules.max_tier]:
        return Permit(tuple(waived), emergency=True)
    least = min((count, provider) for _, count, provider in gaps)
    return NeedsApproval(
        tuple(clause.number for clause, *gap in gaps if tuple(gap) == least), Approvals(*least)
    )


def applies(clause: Clause, asker: Asker, item: FieldRequest, ceiling: int) -> bool:
    """Whether a clause speaks to a field, approvals apart. An empty list of the clause means any."""
    conditions, age = clause.conditions, item.record_age_days
    return (
        clause.tier <= min(asker.tier, ceiling)
        and all(
            not allowed or actual in allowed
            for allowed, actual in (
                (clause.record_types, item.record_type),
                (clause.fields, item.field),
                (clause.providers, asker.provider),
                (clause.recipients, asker.recipient),
                (clause.officer_roles, asker.role),
                (clause.purposes, asker.purpose),
                (conditions.consent, asker.consent),
            )
        )
        and (conditions.minimum_strength is None or asker.strength.rank >= conditions.minimum_strength.rank)
        and (
            conditions.max_record_age_days is None
            or (age is not None and age <= conditions.max_record_age_days)
        )
        and (conditions.older_than_days is None or age is None or age > conditions.older_than_days)
        and (conditions.markers is None or bool(item.markers & set(conditions.markers)))
    )


def _gap(needed: Approvals, given: Approvals) -> tuple[int, int]:
    provider = max(needed.from_provider - given.from_provider, 0)
    return max(needed.count - given.count, provider), provider
