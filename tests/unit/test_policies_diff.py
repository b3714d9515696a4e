"""The what-changed diff decides each kind of case once, and says the same as deciding every case."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from policies.authoring import fill, load_policy, template
from policies.clauses import NO_APPROVALS, Approvals, Clause, Conditions
from policies.diff import Change, Outcome, Subject, diff, outcome
from policies.domain import OTHER_FIELD, OTHER_RECORD, domain_of
from policies.ids import FieldName, Marker, Prose, RecordType
from policies.reference import reference_decision
from policies.sharing import SharingPolicy
from policies.status import MAX_TIER
from policies.vocabulary import Effect, OfficerRole, Strength
from tests.simulator.policies import NHS, sample_policy, template_values

POLICY = sample_policy()
NO_BANDS = Clause(7, Effect.WITHHOLD, Prose("No bands."), 0, (), (FieldName("risk_band"),))


def with_clause(number: int, **changes: object) -> SharingPolicy:
    clauses = tuple(
        replace(item, **changes) if item.number == number else item  # type: ignore[arg-type] # real fields
        for item in POLICY.clauses
    )
    return replace(POLICY, clauses=clauses)


CHANGED = {
    "nothing": POLICY,
    "approvals": with_clause(3, approvals=Approvals(0, 0)),
    "consent": with_clause(2, conditions=Conditions()),
    "strength": with_clause(1, conditions=Conditions(minimum_strength=Strength.STRONG)),
    "age": with_clause(3, conditions=Conditions(max_record_age_days=30)),
    "older": with_clause(6, conditions=Conditions(older_than_days=100)),
    "another marker": with_clause(5, conditions=Conditions(markers=(Marker("court_order"),))),
    "markers": with_clause(
        5, record_types=(RecordType("risk_assessment"),),
        conditions=Conditions(markers=(Marker("legally_privileged"), Marker("court_order"))),
    ),
    "roles": with_clause(2, officer_roles=(OfficerRole.INVESTIGATOR,)),
    "providers": with_clause(2, providers=(NHS,)),
    "tier": with_clause(2, tier=2, push=False),
    "fields": with_clause(2, fields=(FieldName("risk_band"),)),
    "name": replace(
        POLICY,
        parties=tuple(
            replace(item, name_withheld=False) if item.agency == NHS else item for item in POLICY.parties
        ),
    ),
    "a clause more": replace(
        POLICY,
        clauses=(*POLICY.clauses, NO_BANDS),
    ),
}  # fmt: skip


def every_case(old: SharingPolicy, new: SharingPolicy) -> list[Change]:
    """The definition: each case of the domain under both versions."""
    found: Counter[tuple[Subject, Outcome, Outcome]] = Counter()
    domain = domain_of(old, new, merge_alike=False)
    for asker in domain.askers():
        for item in domain.requests:
            if asker.approvals != NO_APPROVALS or item.record_type == OTHER_RECORD:
                continue
            before, after = (outcome(reference_decision(p, asker, item, MAX_TIER)) for p in (old, new))
            if before != after and item.field != OTHER_FIELD:
                subject = Subject(
                    asker.provider, asker.recipient, asker.role, asker.purpose, item.record_type,
                    item.field, asker.tier,
                )  # fmt: skip
                found[subject, before, after] += 1
    return [Change(*key, cases) for key, cases in found.items()]


@pytest.mark.parametrize("name", CHANGED)
def test_it_says_the_same_as_deciding_every_case(name: str) -> None:
    changes = diff(POLICY, CHANGED[name])
    assert list(changes) == every_case(POLICY, CHANGED[name])
    # a marker that a version does not name is withheld like one that its clause names
    assert bool(changes) == (name not in ("nothing", "another marker"))


def test_each_kind_of_case_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = template("marac-domestic-abuse")
    old = load_policy(fill(text, template_values(text)), "marac.yaml")
    new = replace(old, clauses=tuple(replace(item, approvals=NO_APPROVALS) for item in old.clauses))
    asked = 0

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return reference_decision(*arguments)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr("policies.diff.reference_decision", counted)
    assert diff(old, new)
    assert asked < domain_of(old, new, merge_alike=False).size / 50
