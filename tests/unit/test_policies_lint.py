"""Lint: every code is found where it should be, is quiet where it should not be, and is explained."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from policies.authoring import fill, load_policy, template
from policies.clauses import (
    LINK_EXISTS,
    LINK_RECORD,
    NO_APPROVALS,
    Approvals,
    Clause,
    Conditions,
)
from policies.ids import AgencyId, FieldName, Line, Prose, RecordType
from policies.lint import Code, Severity, lint
from policies.sharing import SharingPolicy
from policies.vocabulary import (
    Article6,
    Article9,
    Capacity,
    Consent,
    Effect,
    OfficerRole,
    Purpose,
    Strength,
)
from tests.simulator.policies import CARE, NHS, NOW, POLICE, party, sample_policy, template_values

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/ig-officer.md"


def _clean() -> SharingPolicy:
    """The sample without its weak point, a provider whom nobody can ask."""
    sample = sample_policy()
    return replace(sample, parties=tuple(replace(item, name_withheld=False) for item in sample.parties))


POLICY = _clean()
ONE, TWO, THREE, FOUR, FIVE, SIX = POLICY.clauses
INCIDENT, NOTES, SUMMARY = RecordType("incident"), FieldName("notes"), FieldName("summary")
ALL_CONSENT = tuple(Consent)


def _party(index: int, **basis: object) -> SharingPolicy:
    changed = POLICY.parties[index]
    changed = replace(changed, lawful_basis=replace(changed.lawful_basis, **basis))  # type: ignore[arg-type] # real fields
    return replace(POLICY, parties=(*POLICY.parties[:index], changed, *POLICY.parties[index + 1 :]))


def _hidden(*agencies: AgencyId) -> SharingPolicy:
    return replace(
        POLICY,
        parties=tuple(replace(item, name_withheld=item.agency in agencies) for item in POLICY.parties),
    )


def _clauses(*clauses: Clause) -> SharingPolicy:
    return replace(POLICY, clauses=tuple(sorted(clauses, key=lambda item: item.number)))


def _and(*clauses: Clause) -> SharingPolicy:
    return _clauses(*POLICY.clauses, *clauses)


def _instead(**changes: Clause) -> SharingPolicy:
    """The policy with some clauses replaced: `_instead(c3=...)`."""
    return _clauses(*(changes.get(f"c{item.number}", item) for item in POLICY.clauses))


def _governance(**changes: object) -> SharingPolicy:
    return replace(POLICY, governance=replace(POLICY.governance, **changes))  # type: ignore[arg-type] # real fields


def _dpia(completed: date) -> SharingPolicy:
    assert POLICY.governance.dpia is not None
    return _governance(dpia=replace(POLICY.governance.dpia, completed=completed))


def _duties(**changes: object) -> SharingPolicy:
    return replace(POLICY, obligations=replace(POLICY.obligations, **changes))  # type: ignore[arg-type] # real fields


def _safeguards(**changes: object) -> SharingPolicy:
    return replace(POLICY, safeguards=replace(POLICY.safeguards, **changes))  # type: ignore[arg-type] # real fields


def _alarms(**changes: int) -> SharingPolicy:
    return _safeguards(alarms=replace(POLICY.safeguards.alarms, **changes))


def withhold(number: int = 9, tier: int = 0, **about: object) -> Clause:
    """A withhold clause about everything, but for what is given."""
    empty: dict[str, object] = {"record_types": (), "fields": ()}
    return Clause(number, Effect.WITHHOLD, Prose("Not this."), tier, **(empty | about))  # type: ignore[arg-type] # real fields


def _with_consent(*states: Consent) -> Conditions:
    return Conditions(minimum_strength=Strength.STRONG, consent=states)


FIVE_EYES = replace(THREE, number=7, approvals=Approvals(5, 1))
UNCONDITIONAL = Conditions(minimum_strength=Strength.STRONG)
CARE_ASKS_ITSELF = replace(
    POLICY,
    parties=(POLICY.parties[0], party(CARE, Capacity.PROVIDER, Capacity.RECIPIENT), POLICY.parties[2]),
    clauses=(*POLICY.clauses, replace(TWO, number=7, providers=(CARE,), recipients=(CARE,))),
)
LATE_REVIEW = replace(POLICY, review_by=POLICY.not_after)
OVERDUE = replace(POLICY, not_before=NOW - timedelta(days=9), review_by=NOW)
EXPIRED = replace(POLICY, not_before=NOW - timedelta(days=9), review_by=NOW, not_after=NOW)
OF_LINKS = replace(ONE, number=7, fields=(LINK_EXISTS,), officer_roles=(OfficerRole.SUPERVISOR,))
CONSENT_TO_A_LINK = replace(OF_LINKS, conditions=Conditions(consent=(Consent.GIVEN,)))
NO_LINKS_OF_REFUSERS = withhold(
    record_types=(LINK_RECORD,), conditions=Conditions(consent=(Consent.REFUSED,))
)

FINDINGS: list[tuple[Code, SharingPolicy, str]] = [
    (Code.NO_DPIA, _governance(dpia=None), "governance"),
    (Code.DPIA_IN_FUTURE, _dpia(NOW.date() + timedelta(days=1)), "governance"),
    (Code.DPIA_OLD, _dpia(NOW.date() - timedelta(days=731)), "governance"),
    (Code.NO_DPO_ADVICE, _governance(dpo_advice=()), "police"),
    (Code.EXPIRED, EXPIRED, "header"),
    (Code.REVIEW_OVERDUE, OVERDUE, "header"),
    (Code.NO_REVIEW, LATE_REVIEW, "header"),
    (Code.NO_POWER, _party(1, gateways=()), "care"),
    (Code.MIXED_REGIMES, _party(1, schedule8_paragraph=Line("paragraph 4")), "care"),
    (Code.MIXED_REGIMES, _party(0, article9=Article9.VITAL_INTERESTS), "police"),
    (Code.NO_LAWFUL_BASIS, _party(1, article6=None), "care"),
    (Code.NO_LAWFUL_BASIS, _party(0, part3=None), "police"),
    (Code.CONSENT, _party(1, article6=Article6.CONSENT), "care"),
    (Code.HEALTH_NOT_SPECIAL, _governance(special_category_data=False), "care"),
    (Code.NO_ARTICLE_9, _party(1, article9=None), "care"),
    (Code.NO_SCHEDULE_1, _party(1, schedule1_paragraph=None), "care"),
    (Code.NO_ARTICLE_10, _party(1, schedule1_paragraph=None), "care"),
    (Code.NO_SCHEDULE_8, _party(0, schedule8_paragraph=None), "police"),
    (Code.UNREACHABLE, CARE_ASKS_ITSELF, "clause 7"),
    (Code.UNREACHABLE, _hidden(CARE, NHS), "clause 3"),
    (Code.UNREACHABLE, _and(CONSENT_TO_A_LINK), "clause 7"),
    (Code.SHADOWED, _and(withhold(record_types=(INCIDENT,))), "clause 3"),
    (Code.SHADOWED, _and(withhold(7, record_types=(INCIDENT,), providers=(CARE,)),
                         withhold(8, record_types=(INCIDENT,), providers=(NHS,))), "clause 3"),
    (Code.SHADOWED, _and(withhold(conditions=Conditions(consent=ALL_CONSENT))), "clause 1"),
    (Code.ONLY_TODAY, _and(withhold(conditions=Conditions(older_than_days=0))), "clause 3"),
    (Code.ONLY_TODAY, _instead(c3=replace(THREE, conditions=replace(UNCONDITIONAL, max_record_age_days=0))),
     "clause 3"),
    (Code.PART_UNREACHABLE, _hidden(NHS), "clause 3"),
    (Code.PART_UNREACHABLE, _and(withhold(fields=(NOTES,))), "clause 4"),
    (Code.PART_UNREACHABLE, _and(withhold(officer_roles=(OfficerRole.MARAC_COORDINATOR,))), "clause 2"),
    (Code.REDUNDANT, _and(withhold(7, record_types=(INCIDENT,), fields=(NOTES,)),
                          withhold(8, fields=(NOTES,))), "clause 7"),
    (Code.WITHHOLDS_NOTHING, _instead(c6=replace(SIX, fields=(FieldName("diary"),))), "clause 6"),
    (Code.WITHHOLDS_NOTHING, _instead(c6=replace(SIX, record_types=(LINK_RECORD,), fields=())), "clause 6"),
    (Code.FEWER_APPROVALS, _and(replace(FIVE_EYES, conditions=UNCONDITIONAL)), "clause 3"),
    (Code.FEWER_APPROVALS,
     _instead(c2=replace(TWO, conditions=_with_consent(Consent.GIVEN)),
              c3=replace(TWO, number=3, conditions=_with_consent(Consent.REFUSED), push=False,
                         approvals=Approvals(1, 0))), "clause 2"),
    (Code.LINK_FIELDS, _instead(c1=replace(ONE, record_types=(INCIDENT,))), "clause 1"),
    (Code.UNKNOWN_AT_TIER_0, _and(NO_LINKS_OF_REFUSERS), "clause 9"),
    (Code.UNKNOWN_AT_TIER_0, _instead(c5=replace(FIVE, record_types=(LINK_RECORD,))), "clause 5"),
    (Code.UNKNOWN_AT_TIER_0, _instead(c5=replace(FIVE, fields=(LINK_EXISTS,))), "clause 5"),
    (Code.UNKNOWN_AT_TIER_0, _and(withhold(conditions=Conditions(consent=(Consent.REFUSED,)))), "clause 9"),
    (Code.UNKNOWN_AT_TIER_0, _and(CONSENT_TO_A_LINK), "clause 7"),
    (Code.RECORD_AT_TIER_0, _instead(c2=replace(TWO, tier=0)), "clause 2"),
    (Code.NO_APPROVAL, _instead(c3=replace(THREE, approvals=NO_APPROVALS)), "clause 3"),
    (Code.NO_FOUR_EYES, _instead(c4=replace(FOUR, approvals=Approvals(2, 0))), "clause 4"),
    (Code.ANY_STRENGTH, _instead(c3=replace(THREE, conditions=Conditions())), "clause 3"),
    (Code.NO_TIER_0, _clauses(TWO), "clauses"),
    (Code.NO_TIER_0, _instead(c1=replace(ONE, tier=1)), "clauses"),
    (Code.NO_TIER_0, _instead(c1=replace(ONE, approvals=Approvals(1, 0), push=False)), "clauses"),
    (Code.NO_TIER_0, _and(withhold(record_types=(LINK_RECORD,))), "clauses"),
    (Code.UNUSED_PURPOSE, replace(POLICY, purposes=(*POLICY.purposes, Purpose.MISSING_PERSON)), "header"),
    (Code.SILENT_PROVIDER, _clauses(replace(ONE, providers=(CARE,))), "nhs"),
    (Code.SILENT_PROVIDER, _and(withhold(providers=(NHS,))), "nhs"),
    (Code.SILENT_RECIPIENT, _and(withhold(recipients=(POLICE,))), "police"),
    (Code.NO_RETENTION, _duties(retention_days=0), "obligations"),
    (Code.LONG_RETENTION, _duties(retention_days=2191), "obligations"),
    (Code.NO_ERASURE_RECEIPT, _duties(erasure_receipt=False), "obligations"),
    (Code.ONWARD, _duties(onward_sharing=(CARE,)), "obligations"),
    (Code.LATE_ALARM, _alarms(requests_per_hour=20, requests_per_day=20), "safeguards"),
    (Code.SILENT_ALARM, _alarms(officers_per_subject=11), "safeguards"),
    (Code.SILENT_ALARM, _alarms(subjects_per_case=26), "safeguards"),
    (Code.NO_CASE_REFERENCE, _safeguards(case_reference_required=False), "safeguards"),
    (Code.NO_REVIEW_SAMPLE, _safeguards(review_sample_percent=0), "safeguards"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "policy", "where"), FINDINGS, ids=[f"{row[0].value} {row[2]}" for row in FINDINGS]
)
def test_lint_finds(code: Code, policy: SharingPolicy, where: str) -> None:
    assert (code, where) in [(finding.code, finding.where) for finding in lint(policy, NOW)]


def test_every_code_has_a_case_above_and_none_is_found_without_reason() -> None:
    assert {code for code, _, _ in FINDINGS} == set(Code)
    assert lint(POLICY, NOW) == ()


def test_the_guide_explains_every_code_with_its_severity() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| (error|warning) \| .+ \|$", GUIDE.read_text("utf-8"), re.MULTILINE
    )
    severities = {
        (finding.code.value, finding.severity.value)
        for code, policy, _ in FINDINGS
        for finding in lint(policy, NOW)
        if finding.code is code
    }
    assert sorted(rows) == sorted(severities)
    assert len({code for code, _ in rows}) == len(rows)


def test_errors_come_first_and_say_what_they_are() -> None:
    found = lint(_governance(dpia=None, dpo_advice=()), NOW)
    assert [item.severity for item in found] == [Severity.ERROR] + [Severity.WARNING] * 3
    assert str(found[0]) == "error no-dpia (governance): no data protection impact assessment is named"


def test_what_nobody_can_share_onward_is_one_finding_not_one_for_each_clause() -> None:
    assert [item.code for item in lint(_duties(onward_sharing=(CARE,)), NOW)] == [Code.ONWARD]


def test_approvals_that_differ_by_tier_or_role_or_are_never_asked_for_do_help() -> None:
    by_tier = _instead(c4=replace(FOUR, fields=THREE.fields))
    by_role = _instead(
        c3=replace(THREE, officer_roles=(OfficerRole.INVESTIGATOR,)),
        c4=replace(FIVE_EYES, number=4, officer_roles=(OfficerRole.MARAC_COORDINATOR,)),
    )
    by_a_third = _and(
        replace(FIVE_EYES, conditions=UNCONDITIONAL),
        replace(FIVE_EYES, number=8, conditions=UNCONDITIONAL, approvals=THREE.approvals),
    )
    for policy in (by_tier, by_role, by_a_third):
        assert Code.FEWER_APPROVALS not in {item.code for item in lint(policy, NOW)}


def test_a_clause_of_which_only_a_part_is_withheld_is_not_unreachable() -> None:
    found = {item.code for item in lint(_and(withhold(fields=(NOTES,))), NOW)}
    assert Code.PART_UNREACHABLE in found
    assert not found & {Code.UNREACHABLE, Code.SHADOWED}


# --- on a template as it is filled in
# --------------------------------------------------------------------------------------------------

_TEXT = template("marac-domestic-abuse")
MARAC = load_policy(fill(_TEXT, template_values(_TEXT)), "marac.yaml")
CHARITY = AgencyId("charity")


def _marac(*clauses: Clause) -> SharingPolicy:
    return replace(MARAC, clauses=(*MARAC.clauses, *clauses))


def _nothing_for_anybody() -> SharingPolicy:
    return _marac(withhold(30, recipients=(POLICE,)), withhold(31, recipients=(CARE,)))


def _whatever_the_consent() -> SharingPolicy:
    return _marac(withhold(30, conditions=Conditions(consent=ALL_CONSENT)))


def _of_charity_only() -> SharingPolicy:
    only = tuple(replace(item, providers=(CHARITY,)) for item in MARAC.releases if item.tier > 0)
    return replace(MARAC, clauses=(MARAC.clauses[0], *only, *MARAC.withholds))


def _blind_to_health() -> SharingPolicy:
    return replace(
        MARAC,
        governance=replace(MARAC.governance, special_category_data=False, criminal_offence_data=False),
        parties=tuple(
            replace(
                item,
                lawful_basis=replace(
                    item.lawful_basis, article9=None, schedule1_paragraph=None, schedule8_paragraph=None
                ),
            )
            for item in MARAC.parties
        ),
    )


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_nothing_for_anybody, {(Code.SHADOWED, f"clause {n}") for n in (1, 2, 3, 4)}),
        (_whatever_the_consent, {(Code.SHADOWED, f"clause {n}") for n in (1, 2, 3, 4)}),
        (
            lambda: _marac(withhold(30, conditions=Conditions(older_than_days=0))),
            {(Code.ONLY_TODAY, f"clause {n}") for n in (2, 3, 4)},
        ),
        (_of_charity_only, {(Code.UNREACHABLE, f"clause {n}") for n in (2, 3, 4)}),
        (
            _blind_to_health,
            {(Code.HEALTH_NOT_SPECIAL, "care"), (Code.HEALTH_NOT_SPECIAL, "nhs"),
             (Code.NO_SCHEDULE_8, "police")}
            | {(Code.NO_ARTICLE_9, agency) for agency in ("care", "nhs", "charity")},
        ),
    ],
    ids=["by recipient", "by consent", "by age", "by name", "health data"],
)  # fmt: skip
def test_errors_on_a_template(make: Callable[[], SharingPolicy], expected: set[tuple[Code, str]]) -> None:
    assert lint(MARAC, NOW) == ()
    found = {(item.code, item.where) for item in lint(make(), NOW) if item.severity is Severity.ERROR}
    assert found == expected


def test_a_narrative_of_any_age_that_is_withheld_shows_in_its_clause() -> None:
    narrower = tuple(
        replace(item, conditions=Conditions(older_than_days=0)) if item.number == 21 else item
        for item in MARAC.clauses
    )
    (found,) = lint(replace(MARAC, clauses=narrower), NOW)
    assert (found.code, found.where) == (Code.PART_UNREACHABLE, "clause 4")
    assert "narrative" in found.message
    assert "clause 21 withholds it" in found.message


def test_what_the_broker_cannot_know_is_no_matter_above_tier_0() -> None:
    refused = Conditions(consent=(Consent.REFUSED,))
    (found,) = lint(_marac(withhold(30, conditions=refused)), NOW)
    assert (found.code, found.where) == (Code.UNKNOWN_AT_TIER_0, "clause 30")
    assert lint(_marac(withhold(30, tier=1, conditions=refused)), NOW) == ()
