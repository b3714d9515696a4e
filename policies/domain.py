"""The finite domain of a policy: the cases that its clauses can tell apart, and no more.

Along each dimension (provider, recipient, role, purpose, record type, field, consent, strength, age, markers,
tier) values that are in exactly the same lists of the clauses are alike to every clause, so one of them
stands for all; a value that no clause mentions stands for everything else. Over these cases two evaluators or
two versions are compared *completely*, not by sampling.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from policies.access import Asker, FieldRequest
from policies.clauses import NO_APPROVALS, Approvals, Clause
from policies.ids import AgencyId, FieldName, Marker, RecordType
from policies.sharing import SharingPolicy
from policies.vocabulary import TIERS, Consent, OfficerRole, Purpose, Strength

OTHER_RECORD = RecordType("any-other-record")
OTHER_FIELD = FieldName("any-other-field")
OTHER_MARKER = Marker("any-other-marker")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Domain:
    """The representatives along each dimension."""

    pairs: tuple[tuple[AgencyId, AgencyId], ...]
    roles: tuple[OfficerRole, ...]
    purposes: tuple[Purpose, ...]
    tiers: tuple[int, ...]
    strengths: tuple[Strength, ...]
    consents: tuple[Consent, ...]
    approvals: tuple[Approvals, ...]
    requests: tuple[FieldRequest, ...]

    def askers(self) -> Iterator[Asker]:
        """Every combination of the dimensions that a request fixes for all its fields."""
        for (provider, recipient), *rest in product(
            self.pairs, self.roles, self.purposes, self.tiers, self.strengths, self.consents, self.approvals
        ):
            role, purpose, tier, strength, consent, approvals = rest
            yield Asker(provider, recipient, role, purpose, tier, strength, consent, approvals)  # type: ignore[arg-type] # product() loses the types

    @property
    def size(self) -> int:
        """The number of cases."""
        lists: tuple[Sequence[object], ...] = (
            self.pairs,
            self.roles,
            self.purposes,
            self.tiers,
            self.strengths,
            self.consents,
            self.approvals,
            self.requests,
        )
        total = 1
        for values in lists:
            total *= len(values)
        return total


def domain_of(*policies: SharingPolicy, merge_alike: bool = True) -> Domain:
    """The cases that the clauses of these policies can tell apart.

    With `merge_alike` false every mentioned value stays, so that each can be reported by name.
    """
    clauses = [clause for policy in policies for clause in policy.clauses]

    def distinct(values: Iterable[V], read: Callable[[Clause], Iterable[V]]) -> tuple[V, ...]:
        return _distinct(values, clauses, read) if merge_alike else tuple(dict.fromkeys(values))

    types = distinct(
        (*_mentioned(clauses, lambda item: item.record_types), OTHER_RECORD), lambda item: item.record_types
    )
    fields = distinct((*_mentioned(clauses, lambda item: item.fields), OTHER_FIELD), lambda item: item.fields)
    return Domain(
        pairs=_pairs(policies, clauses, merge_alike),
        roles=_distinct(OfficerRole, clauses, lambda item: item.officer_roles)
        if merge_alike
        else _mentioned(clauses, lambda item: item.officer_roles),
        purposes=_distinct(Purpose, clauses, lambda item: item.purposes)
        if merge_alike
        else _mentioned(clauses, lambda item: item.purposes),
        tiers=tuple(TIERS),
        strengths=_distinct(Strength, clauses, _strengths),
        consents=_distinct(Consent, clauses, lambda item: item.conditions.consent or ()),
        approvals=(NO_APPROVALS, Approvals(1, 0), Approvals(1, 1), Approvals(2, 1)),
        requests=tuple(
            FieldRequest(record_type, field, age, markers)
            for record_type, field, age, markers in product(types, fields, _ages(clauses), _markers(clauses))
        ),
    )


def _distinct(
    values: Iterable[V], clauses: Sequence[Clause], read: Callable[[Clause], Iterable[V]]
) -> tuple[V, ...]:
    """One value for each set of clauses that list it."""
    kept: dict[tuple[int, ...], V] = {}
    for value in values:
        kept.setdefault(tuple(i for i, clause in enumerate(clauses) if value in read(clause)), value)
    return tuple(kept.values())


def _mentioned(clauses: Sequence[Clause], read: Callable[[Clause], Iterable[V]]) -> tuple[V, ...]:
    return tuple(dict.fromkeys(value for clause in clauses for value in read(clause)))


def _pairs(
    policies: Sequence[SharingPolicy], clauses: Sequence[Clause], merge_alike: bool
) -> tuple[tuple[AgencyId, AgencyId], ...]:
    """Provider and recipient together, for an agency does not release to itself."""
    kept: dict[tuple[object, ...], tuple[AgencyId, AgencyId]] = {}
    for policy in policies:
        for pair in product(policy.providers, policy.recipients):
            provider, recipient = pair
            if provider == recipient:
                continue
            listed = tuple((provider in item.providers, recipient in item.recipients) for item in clauses)
            party = policy.party(provider)
            named = party is not None and party.name_withheld
            kept.setdefault((listed, named) if merge_alike else pair, pair)
    return tuple(kept.values())


def _strengths(clause: Clause) -> tuple[Strength, ...]:
    least = clause.conditions.minimum_strength
    return tuple(item for item in Strength if least is None or item.rank >= least.rank)


def _ages(clauses: Sequence[Clause]) -> tuple[int | None, ...]:
    """Unknown, and one age between every two limits."""
    limits = {
        limit
        for clause in clauses
        for limit in (clause.conditions.max_record_age_days, clause.conditions.older_than_days)
        if limit is not None
    }
    return (None, *sorted(limits or {0}), *([max(limits) + 1] if limits else []))


def _markers(clauses: Sequence[Clause]) -> tuple[frozenset[Marker], ...]:
    """No marker, a protected one, one for each set of clauses that ask for it, and one that none asks for,
    alone and with all the others that are asked for.

    That of received records is like the protected ones: no clause is asked.
    """
    mentioned = _mentioned(clauses, lambda item: item.conditions.markers or ())
    single = _distinct(mentioned, clauses, lambda item: item.conditions.markers or ())
    alone = (frozenset({marker}) for marker in (Marker("safe_address"), *single, OTHER_MARKER))
    return tuple(dict.fromkeys((frozenset(), *alone, frozenset({*single, OTHER_MARKER}))))
