"""Evaluation: the table of outcomes, exhaustive agreement with the reference, and failing closed."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cedarpy
import pytest

from policies import cedar
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
from policies.authoring import fill, load_policy, template, template_names
from policies.cedar import Applies, EngineFault, Forbidden, NothingApplies
from policies.clauses import (
    LINK_AGENCY,
    LINK_EXISTS,
    LINK_RECORD,
    NO_APPROVALS,
    PROTECTED_FIELDS,
    PROTECTED_MARKERS,
    RECEIVED_MARKER,
    Approvals,
)
from policies.domain import OTHER_MARKER, domain_of
from policies.errors import CompilationError
from policies.evaluate import PolicyEvaluator
from policies.ids import AgencyId, FieldName, Marker, RecordType
from policies.reference import reference_decision
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from tests.simulator.policies import CARE, NHS, POLICE, REFUGE, sample_policy, template_values

POLICY = sample_policy()
EVALUATOR = PolicyEvaluator(POLICY)
ASKER = Asker(
    provider=CARE,
    recipient=POLICE,
    role=OfficerRole.INVESTIGATOR,
    purpose=Purpose.DOMESTIC_ABUSE_RISK,
    tier=3,
    strength=Strength.STRONG,
    consent=Consent.NOT_RECORDED,
    approvals=NO_APPROVALS,
)
INCIDENT = RecordType("incident")
SUMMARY = FieldRequest(INCIDENT, FieldName("summary"), 10)
NOTES = FieldRequest(INCIDENT, FieldName("notes"), 10)
EXISTS = FieldRequest(LINK_RECORD, LINK_EXISTS)
AGENCY = FieldRequest(LINK_RECORD, LINK_AGENCY)
RISK = FieldRequest(RecordType("risk_assessment"), FieldName("risk_band"))
PRIVILEGED = frozenset({Marker("legally_privileged")})
REFUGE_MARK = frozenset({Marker("refuge")})
RECEIVED = frozenset({RECEIVED_MARKER})
REFUGEE = frozenset({Marker("refugee")})
PASSED_ON = Withhold((), Builtin.RECEIVED)
UNKNOWN = Withhold((), Builtin.UNKNOWN_MARKER)
EVERYTHING = replace(ASKER, approvals=Approvals(9, 9), consent=Consent.GIVEN, break_glass=True)
NO_CLAUSE = Deny(DenyReason.NO_CLAUSE)
GLASS = replace(ASKER, break_glass=True)
TENANCY = RecordType("tenancy")
COORDINATOR = OfficerRole.MARAC_COORDINATOR

TABLE: list[tuple[str, Asker, FieldRequest, int | None, FieldDecision]] = [
    ("tier 0", replace(ASKER, tier=0), EXISTS, 3, Permit((1,))),
    ("tier 0 also in a higher request", ASKER, EXISTS, 3, Permit((1,))),
    ("too weak a link", replace(ASKER, strength=Strength.POSSIBLE), EXISTS, 3, NO_CLAUSE),
    ("the agency's name", ASKER, AGENCY, 3, Permit((1,))),
    ("a withheld name", replace(ASKER, provider=NHS), AGENCY, 3, Withhold((), Builtin.NAME_WITHHELD)),
    ("a withheld name does not hide the link", replace(ASKER, provider=NHS, tier=0), EXISTS, 3, Permit((1,))),
    ("nor answer a request", replace(ASKER, provider=NHS), EXISTS, 3, Withhold((), Builtin.NAME_WITHHELD)),
    ("nor release a record", replace(ASKER, provider=NHS), RISK, 3, Withhold((), Builtin.NAME_WITHHELD)),
    ("tier 1 in a tier 0 request", replace(ASKER, tier=0), RISK, 3, NO_CLAUSE),
    ("consent refused", replace(ASKER, consent=Consent.REFUSED), RISK, 3, NO_CLAUSE),
    ("needs one approval", replace(ASKER, tier=2), SUMMARY, 3, NeedsApproval((3,), Approvals(1, 0))),
    ("one approval in hand", replace(ASKER, approvals=Approvals(1, 0)), SUMMARY, 3, Permit((3,))),
    ("four eyes", ASKER, NOTES, 3, NeedsApproval((4,), Approvals(2, 1))),
    (
        "two from the recipient are not four eyes",
        replace(ASKER, approvals=Approvals(2, 0)),
        NOTES,
        3,
        NeedsApproval((4,), Approvals(1, 1)),
    ),
    ("four eyes in hand", replace(ASKER, approvals=Approvals(2, 1)), NOTES, 3, Permit((4,))),
    ("an old record", ASKER, replace(SUMMARY, record_age_days=731), 3, NeedsApproval((4,), Approvals(2, 1))),
    ("of unknown age", replace(ASKER, tier=2), replace(SUMMARY, record_age_days=None), 3, NO_CLAUSE),
    ("withholding of unknown age", ASKER, replace(NOTES, record_age_days=None), 3, Withhold((6,))),
    ("withheld by marker", ASKER, replace(SUMMARY, markers=PRIVILEGED), 3, Withhold((5,))),
    ("withheld by two", ASKER, replace(NOTES, markers=PRIVILEGED, record_age_days=9999), 3, Withhold((5, 6))),
    ("a refuge", ASKER, replace(EXISTS, markers=REFUGE_MARK), 3, Withhold((), Builtin.SAFE_ADDRESS)),
    ("what another agency disclosed", ASKER, replace(EXISTS, markers=RECEIVED), 3, PASSED_ON),
    ("even with every approval", EVERYTHING, replace(NOTES, markers=RECEIVED), 3, PASSED_ON),
    ("a marker that no clause names", ASKER, replace(SUMMARY, markers=REFUGEE), 3, UNKNOWN),
    ("beside one that a clause names", ASKER, replace(NOTES, markers=REFUGEE | PRIVILEGED), 3, UNKNOWN),
    ("break-glass against such a marker", EVERYTHING, replace(NOTES, markers=REFUGEE), 3, UNKNOWN),
    ("another role", replace(ASKER, role=OfficerRole.CLINICIAN), EXISTS, 3, NO_CLAUSE),
    ("another purpose", replace(ASKER, purpose=Purpose.CRIME_PREVENTION), EXISTS, 3, NO_CLAUSE),
    ("another field", ASKER, FieldRequest(INCIDENT, FieldName("victim_name"), 1), 3, NO_CLAUSE),
    ("another record type", ASKER, FieldRequest(TENANCY, FieldName("summary"), 1), 3, NO_CLAUSE),
    ("not in force", ASKER, EXISTS, None, Deny(DenyReason.NOT_IN_FORCE)),
    ("a ceiling", ASKER, RISK, 0, Deny(DenyReason.TIER_CEILING)),
    ("below a ceiling", ASKER, EXISTS, 0, Permit((1,))),
    ("a provider only", replace(ASKER, recipient=NHS), EXISTS, 3, Deny(DenyReason.NOT_A_PARTY)),
    ("a recipient only", replace(ASKER, provider=POLICE), EXISTS, 3, Deny(DenyReason.NOT_A_PARTY)),
    ("a stranger", replace(ASKER, recipient=REFUGE), EXISTS, 3, Deny(DenyReason.NOT_A_PARTY)),
    ("break-glass waives approvals", GLASS, NOTES, 3, Permit((4,), emergency=True)),
    ("break-glass is not claimed when not needed", GLASS, EXISTS, 3, Permit((1,))),
    (
        "break-glass by another role",
        replace(GLASS, role=COORDINATOR),
        SUMMARY,
        3,
        NeedsApproval((3,), Approvals(1, 0)),
    ),
    ("break-glass against withholding", GLASS, replace(NOTES, markers=PRIVILEGED), 3, Withhold((5,))),
    (
        "break-glass against a safe address",
        GLASS,
        replace(NOTES, markers=REFUGE_MARK),
        3,
        Withhold((), Builtin.SAFE_ADDRESS),
    ),
    ("break-glass against a suspension", GLASS, NOTES, None, Deny(DenyReason.NOT_IN_FORCE)),
]


@pytest.mark.parametrize(
    ("asker", "item", "ceiling", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_table(asker: Asker, item: FieldRequest, ceiling: int | None, expected: FieldDecision) -> None:
    assert EVALUATOR.decide_one(asker, item, ceiling=ceiling) == expected
    assert reference_decision(POLICY, asker, item, ceiling) == expected


def test_decisions_explain_themselves() -> None:
    said = [str(row[4]) for row in TABLE]
    assert "released under clause 1" in said
    assert "withheld by clauses 5, 6" in said
    assert "needs 2 more approvals, 1 of them from the provider under clause 4" in said
    assert "withheld: safe address or refuge" in said
    assert "withheld: received from another agency, which alone may release it" in said
    assert "withheld: marked with a word that the policy does not name" in said
    assert "denied: no clause releases it" in said


def _policies() -> Iterator[tuple[str, SharingPolicy]]:
    yield "sample", POLICY
    for name in template_names():
        text = template(name)
        yield name, load_policy(fill(text, template_values(text)), f"{name}.yaml")


@pytest.mark.parametrize(("name", "policy"), list(_policies()), ids=[name for name, _ in _policies()])
def test_exhaustive_agreement_with_the_reference(name: str, policy: SharingPolicy) -> None:
    """Every case of the whole domain of the policy; approvals vary only where they are asked for."""
    domain = domain_of(policy)
    evaluator = PolicyEvaluator(policy)
    assert any(OTHER_MARKER in item.markers for item in domain.requests)
    kinds: set[type] = set()
    for asker in domain.askers():
        if asker.approvals != NO_APPROVALS:
            continue
        expected = [reference_decision(policy, asker, item, 3) for item in domain.requests]
        assert list(evaluator.decide(asker, domain.requests, ceiling=3)) == expected, (name, asker)
        kinds |= {type(decision) for decision in expected}
        gated = [
            item
            for item, one in zip(domain.requests, expected, strict=True)
            if isinstance(one, NeedsApproval)
        ]
        for approvals in domain.approvals if gated else ():
            approved = replace(asker, approvals=approvals)
            for item, decision in zip(gated, evaluator.decide(approved, gated, ceiling=3), strict=True):
                assert decision == reference_decision(policy, approved, item, 3), (name, approved, item)
    assert kinds >= {Permit, Withhold, NeedsApproval, Deny}


@pytest.mark.parametrize(("name", "policy"), list(_policies()), ids=[name for name, _ in _policies()])
def test_no_combination_passes_on_what_was_received(name: str, policy: SharingPolicy) -> None:
    domain = domain_of(policy)
    evaluator = PolicyEvaluator(policy)
    marked = [replace(item, markers=item.markers | {RECEIVED_MARKER}) for item in domain.requests]
    for (provider, recipient), role in itertools.product(domain.pairs, domain.roles):
        asker = replace(
            EVERYTHING, provider=provider, recipient=recipient, role=role, purpose=policy.purposes[0]
        )
        decided = evaluator.decide(asker, marked, ceiling=3)
        assert set(decided) <= {PASSED_ON, Withhold((), Builtin.SAFE_ADDRESS)}
        assert list(decided) == [reference_decision(policy, asker, item, 3) for item in marked]


@pytest.mark.parametrize(("name", "policy"), list(_policies()), ids=[name for name, _ in _policies()])
def test_no_combination_opens_what_bears_an_unknown_marker(name: str, policy: SharingPolicy) -> None:
    domain = domain_of(policy)
    evaluator = PolicyEvaluator(policy)
    for word in ("refugee", "safe-address", "any-other-marker"):
        marker = frozenset({Marker(word)})
        marked = [replace(item, markers=item.markers | marker) for item in domain.requests]
        for (provider, recipient), role in itertools.product(domain.pairs, domain.roles):
            asker = replace(
                EVERYTHING, provider=provider, recipient=recipient, role=role, purpose=policy.purposes[0]
            )
            decided = evaluator.decide(asker, marked, ceiling=3)
            assert set(decided) <= {UNKNOWN, Withhold((), Builtin.SAFE_ADDRESS)}


def test_a_marker_is_known_to_a_policy_once_a_clause_of_it_names_it() -> None:
    """Even where that clause says nothing of the record at hand: who drafted it has thought of the word."""
    marked = replace(RISK, markers=PRIVILEGED)
    elsewhere = replace(POLICY.clauses[4], record_types=(INCIDENT,))
    policy = replace(POLICY, clauses=(*POLICY.clauses[:4], elsewhere, *POLICY.clauses[5:]))
    for asker in (ASKER, EVERYTHING):
        expected = EVALUATOR.decide_one(asker, RISK, ceiling=3)
        assert PolicyEvaluator(policy).decide_one(asker, marked, ceiling=3) == expected
        assert reference_decision(policy, asker, marked, 3) == expected
        assert not isinstance(expected, Withhold)


@pytest.mark.parametrize(("name", "policy"), list(_policies()), ids=[name for name, _ in _policies()])
def test_no_combination_opens_a_safe_address(name: str, policy: SharingPolicy) -> None:
    domain = domain_of(policy)
    evaluator = PolicyEvaluator(policy)
    marked = [
        FieldRequest(item.record_type, item.field, item.record_age_days, item.markers | {marker})
        for item in domain.requests
        for marker in PROTECTED_MARKERS
    ] + [FieldRequest(item.record_type, field, 0) for item in domain.requests for field in PROTECTED_FIELDS]
    widest = replace(ASKER, approvals=Approvals(9, 9), consent=Consent.GIVEN, break_glass=True)
    for (provider, recipient), role in itertools.product(domain.pairs, domain.roles):
        asker = replace(widest, provider=provider, recipient=recipient, role=role, purpose=policy.purposes[0])
        assert set(evaluator.decide(asker, marked, ceiling=3)) == {Withhold((), Builtin.SAFE_ADDRESS)}


def test_a_policy_that_asks_for_onward_sharing_releases_nothing() -> None:
    policy = replace(POLICY, obligations=replace(POLICY.obligations, onward_sharing=(REFUGE,)))
    requests = domain_of(policy).requests
    denied = Deny(DenyReason.ONWARD_SHARING)
    assert set(PolicyEvaluator(policy).decide(EVERYTHING, requests, ceiling=3)) == {denied}
    assert {reference_decision(policy, EVERYTHING, item, 3) for item in requests} == {denied}
    assert str(denied) == "denied: the policy's obligations allow onward sharing, which is refused"


def _context(**changes: object) -> dict[str, Any]:
    context: dict[str, object] = {
        "provider": "care",
        "role": "investigator",
        "purpose": "domestic_abuse_risk",
        "tier": 3,
        "strength": 3,
        "consent": "given",
        "field": "exists",
        "markers": [],
    }
    context |= changes
    return {
        "principal": {"type": "Agency", "id": "police"},
        "action": {"type": "Action", "id": "learn"},
        "resource": {"type": "RecordType", "id": "link"},
        "context": {name: value for name, value in context.items() if value is not None},
    }


def test_the_engine_permits_what_is_well_formed() -> None:
    assert EVALUATOR.compiled.ask_raw([_context()]) == [Applies((1,))]
    assert EVALUATOR.compiled.ask_raw([_context(markers=["legally_privileged"])]) == [Forbidden((5,))]
    assert EVALUATOR.compiled.ask_raw([_context(role="cleaner")]) == [NothingApplies()]


@pytest.mark.parametrize(
    "name", ["provider", "role", "purpose", "tier", "strength", "consent", "field", "markers"]
)
def test_a_missing_attribute_is_a_fault(name: str) -> None:
    assert isinstance(EVALUATOR.compiled.ask_raw([_context(**{name: None})])[0], EngineFault)


@pytest.mark.parametrize(
    "changes",
    [
        {"tier": "3"},
        {"strength": True},
        {"strength": 2**70},
        {"markers": "legally_privileged"},
        {"markers": [1]},
        {"age_days": "old"},
        {"surprise": 1},
        {"role": ["investigator"]},
    ],
    ids=str,
)
def test_a_wrong_typed_attribute_is_a_fault(changes: dict[str, object]) -> None:
    assert isinstance(EVALUATOR.compiled.ask_raw([_context(**changes)])[0], EngineFault)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("action", {"type": "Action", "id": "erase"}),
        ("principal", {"type": "Person", "id": "police"}),
        ("resource", {"type": "Agency", "id": "link"}),
    ],
)
def test_a_request_outside_the_schema_is_a_fault(part: str, value: dict[str, str]) -> None:
    assert isinstance(EVALUATOR.compiled.ask_raw([_context() | {part: value}])[0], EngineFault)


def _answer(decision: str, reasons: list[str], errors: list[str]) -> cedarpy.AuthzResult:
    return cedarpy.AuthzResult({"decision": decision, "diagnostics": {"reason": reasons, "errors": errors}})


@pytest.mark.parametrize(
    ("decision", "reasons", "errors"),
    [
        ("Allow", ["clause-1"], ["while evaluating policy `clause-5`: attribute not found"]),
        ("Allow", [], []),
        ("Allow", ["policy0"], []),
        ("Allow", ["clause-1", "policy9"], []),
        ("Allow", ["clause-5"], []),
        ("Deny", ["clause-1"], []),
        ("Deny", [], ["an error"]),
        ("Deny", ["clause-5"], ["an error"]),
        ("NoDecision", [], []),
        ("NoDecision", ["clause-1"], []),
    ],
)
def test_odd_answers_of_the_engine_deny(
    decision: str, reasons: list[str], errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cedarpy, "is_authorized_batch", lambda *_: [_answer(decision, reasons, errors)])
    assert EVALUATOR.decide_one(ASKER, EXISTS, ceiling=3) == Deny(DenyReason.ERROR)


def _raise(*_: object) -> list[object]:
    raise ValueError("engine")


@pytest.mark.parametrize("engine", [_raise, lambda *_: []], ids=["raises", "answers too few"])
def test_a_broken_engine_denies(engine: Callable[..., list[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedarpy, "is_authorized_batch", engine)
    assert set(EVALUATOR.decide(ASKER, [EXISTS, NOTES], ceiling=3)) == {Deny(DenyReason.ERROR)}


def test_generated_rules_that_do_not_type_check_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedar, "SCHEMA", cedar.SCHEMA.replace("tier: Long", "tier: String"))
    with pytest.raises(CompilationError):
        PolicyEvaluator(POLICY)


def test_order_and_repetition_of_requests() -> None:
    requests = [NOTES, EXISTS, NOTES, AGENCY, SUMMARY, EXISTS]
    together = EVALUATOR.decide(ASKER, requests, ceiling=3)
    assert together == tuple(EVALUATOR.decide_one(ASKER, item, ceiling=3) for item in requests)
    assert EVALUATOR.decide(ASKER, [], ceiling=3) == ()


def test_an_agency_cannot_be_its_own_provider() -> None:
    both = AgencyId("care")
    assert EVALUATOR.decide_one(replace(ASKER, recipient=both), EXISTS, ceiling=3) == Deny(
        DenyReason.NOT_A_PARTY
    )


def test_ages_that_share_an_answer_are_told_apart_at_every_limit() -> None:
    policy = sample_policy()
    ages = [None, 0, 1, 729, 730, 731, 3649, 3650, 3651, 9999]
    requests = [
        FieldRequest(RecordType("incident"), FieldName(field), age)
        for field in ("summary", "notes")
        for age in ages
    ]
    for tier in (2, 3):
        asker = Asker(
            CARE,
            POLICE,
            OfficerRole.INVESTIGATOR,
            Purpose.DOMESTIC_ABUSE_RISK,
            tier,
            Strength.STRONG,
            Consent.GIVEN,
            Approvals(2, 1),
        )
        decided = PolicyEvaluator(policy).decide(asker, requests, ceiling=3)
        assert list(decided) == [reference_decision(policy, asker, item, 3) for item in requests]
