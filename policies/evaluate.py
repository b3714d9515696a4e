"""May this field go to that agency, now? The only place from which a `Permit` comes.

In this order, first answer wins: the policy is in force · it lets nobody pass anything on · provider and
recipient are parties in that capacity · no safe address, nothing that another agency disclosed, no marker
that the policy does not name and no withheld name · no withhold clause · a release clause whose approvals
are in hand · break-glass · what approvals are missing · deny.
"""

from bisect import bisect_left
from collections.abc import Sequence

from policies.access import (
    Asker,
    Builtin,
    Deny,
    DenyReason,
    FieldDecision,
    FieldRequest,
    Permit,
    Withhold,
    least_approval,
    missing_approvals,
)
from policies.cedar import Answer, Applies, CompiledPolicy, Forbidden, NothingApplies
from policies.clauses import (
    BUILT_IN_MARKERS,
    NO_APPROVALS,
    PROTECTED_FIELDS,
    PROTECTED_MARKERS,
    RECEIVED_MARKER,
    Clause,
)
from policies.ids import FieldName, RecordType
from policies.sharing import SharingPolicy


class PolicyEvaluator:
    """Decides under one version of one policy. Build it once per policy hash and keep it: compiling costs
    more.
    """

    def __init__(self, policy: SharingPolicy) -> None:
        self.policy = policy
        self.compiled = CompiledPolicy(policy)
        self._clauses = {clause.number: clause for clause in policy.clauses}
        self._listed = _listings(policy)
        self._ages = _age_limits(policy)
        self._markers = policy.named_markers | BUILT_IN_MARKERS

    def decide(
        self, asker: Asker, requests: Sequence[FieldRequest], *, ceiling: int | None
    ) -> tuple[FieldDecision, ...]:
        """One decision per request.

        `ceiling` is the highest tier that the policy's verified signatures, time and status allow at this
        moment (`policies.status.tier_ceiling`), None if nothing is allowed.
        """
        if ceiling is None:
            return (Deny(DenyReason.NOT_IN_FORCE),) * len(requests)
        if self.policy.obligations.onward_sharing:
            return (Deny(DenyReason.ONWARD_SHARING),) * len(requests)
        if not self._parties_fit(asker):
            return (Deny(DenyReason.NOT_A_PARTY),) * len(requests)
        fixed = {item: self._builtin(asker, item) for item in requests}
        alike = {self._likeness(item): item for item, rule in fixed.items() if rule is None}
        answers = self.compiled.ask(asker, tuple(alike.values()), min(asker.tier, ceiling)) if alike else ()
        decisions = {
            likeness: self._from_answer(asker, answer, ceiling)
            for likeness, answer in zip(alike, answers, strict=True)
        }
        return tuple(fixed[item] or decisions[self._likeness(item)] for item in requests)

    def decide_one(self, asker: Asker, request: FieldRequest, *, ceiling: int | None) -> FieldDecision:
        """The decision on a single field."""
        return self.decide(asker, (request,), ceiling=ceiling)[0]

    @property
    def ages(self) -> tuple[int | None, ...]:
        """A record age in days for every answer that ages can bring about, and None for an unknown age."""
        limits = self._ages or [0]
        return (None, *limits, limits[-1] + 1)

    def _likeness(self, item: FieldRequest) -> tuple[object, ...]:
        """What clauses can see of a field. They only ask whether they list its name and record type, and on
        which side of their limits its age is, so fields that are alike in that get the same answer, and the
        engine is asked once for all of them."""
        types, fields = self._listed
        age = item.record_age_days
        return (
            types.get(item.record_type, ()),
            fields.get(item.field, ()),
            None if age is None else bisect_left(self._ages, age),
            item.markers,
        )

    def _parties_fit(self, asker: Asker) -> bool:
        return (
            asker.provider in self.policy.providers
            and asker.recipient in self.policy.recipients
            and asker.provider != asker.recipient
        )

    def _builtin(self, asker: Asker, item: FieldRequest) -> Withhold | None:
        if item.markers & PROTECTED_MARKERS or item.field in PROTECTED_FIELDS:
            return Withhold((), Builtin.SAFE_ADDRESS)
        if RECEIVED_MARKER in item.markers:
            return Withhold((), Builtin.RECEIVED)
        if not item.markers <= self._markers:
            return Withhold((), Builtin.UNKNOWN_MARKER)
        party = self.policy.party(asker.provider)
        if (party is None or party.name_withheld) and not (asker.tier == 0 and item.is_existence):
            return Withhold((), Builtin.NAME_WITHHELD)
        return None

    def _from_answer(self, asker: Asker, answer: Answer, ceiling: int) -> FieldDecision:
        match answer:
            case Applies(numbers):
                return self._approved(asker, tuple(self._clauses[number] for number in numbers))
            case Forbidden(numbers):
                return Withhold(numbers)
            case NothingApplies():
                return Deny(DenyReason.TIER_CEILING if asker.tier > ceiling else DenyReason.NO_CLAUSE)
        return Deny(DenyReason.ERROR)

    def _approved(self, asker: Asker, clauses: tuple[Clause, ...]) -> FieldDecision:
        satisfied = [
            clause.number
            for clause in clauses
            if missing_approvals(clause.approvals, asker.approvals) == NO_APPROVALS
        ]
        if satisfied:
            return Permit(tuple(satisfied))
        waived = [clause.number for clause in clauses if self._waived(asker, clause)]
        if waived:
            return Permit(tuple(waived), emergency=True)
        return least_approval(clauses, asker.approvals)

    def _waived(self, asker: Asker, clause: Clause) -> bool:
        emergency = self.policy.emergency
        return (
            asker.break_glass
            and emergency is not None
            and asker.role in emergency.officer_roles
            and clause.tier <= emergency.max_tier
        )


def _listings(
    policy: SharingPolicy,
) -> tuple[dict[RecordType, tuple[int, ...]], dict[FieldName, tuple[int, ...]]]:
    """For each record type and each field name, the numbers of the clauses that list it."""
    types: dict[RecordType, tuple[int, ...]] = {}
    fields: dict[FieldName, tuple[int, ...]] = {}
    for clause in policy.clauses:
        for record_type in clause.record_types:
            types[record_type] = (*types.get(record_type, ()), clause.number)
        for field in clause.fields:
            fields[field] = (*fields.get(field, ()), clause.number)
    return types, fields


def _age_limits(policy: SharingPolicy) -> list[int]:
    """Every age in days that a clause compares with, rising. Each comparison is `age <= limit` or its
    opposite, so two ages with as many limits below them get the same answers."""
    conditions = [clause.conditions for clause in policy.clauses]
    limits = {item.max_record_age_days for item in conditions} | {item.older_than_days for item in conditions}
    return sorted(limit for limit in limits if limit is not None)
