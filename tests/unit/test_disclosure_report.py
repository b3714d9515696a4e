"""What must be weighed before a subject is told of an entry: each rule by itself."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agency_node.disclosure.report import exemptions_of
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from policies.sharing import SharingPolicy
from policies.vocabulary import Purpose, Regime
from tests.simulator.policies import CARE, NHS, POLICE, sample_policy

RELEASED = AuditAction.DISCLOSURE_RELEASED
TO_POLICE: Mapping[str, JsonInput] = {"requester": "police"}


def harmless(**marks: Mapping[str, bool]) -> SharingPolicy:
    """A policy of which nothing need be weighed, but for these marks of its parties by agency."""
    policy = sample_policy()
    parties = tuple(
        replace(
            item,
            regime=Regime.PART3 if "part3" in marks.get(item.agency, {}) else Regime.UK_GDPR,
            health_or_care_data="health" in marks.get(item.agency, {}),
            name_withheld="hidden" in marks.get(item.agency, {}),
        )
        for item in policy.parties
    )
    purposes = (Purpose.MISSING_PERSON,)
    clauses = tuple(replace(item, purposes=purposes if item.purposes else ()) for item in policy.clauses)
    return replace(policy, parties=parties, purposes=purposes, clauses=clauses)


def weighed(
    policy: SharingPolicy | None, body: Mapping[str, JsonInput] = TO_POLICE, action: AuditAction = RELEASED
) -> list[str]:
    return list(exemptions_of(action, body, policy, CARE))


def test_nothing_is_weighed_of_what_is_harmless() -> None:
    assert weighed(harmless()) == []
    assert weighed(harmless(nhs={"part3": True, "health": True, "hidden": True})) == []


@pytest.mark.parametrize(
    ("mark", "words"),
    [("part3", "Part 3"), ("health", "Schedule 3"), ("hidden", "withholds an agency's name")],
)
@pytest.mark.parametrize("agency", [POLICE, CARE])
def test_what_holds_for_either_agency_of_the_exchange_is_weighed(agency: str, mark: str, words: str) -> None:
    (found,) = weighed(harmless(**{agency: {mark: True}}))
    assert words in found


@pytest.mark.parametrize(
    "purpose",
    [
        Purpose.DOMESTIC_ABUSE_RISK,
        Purpose.DOMESTIC_VIOLENCE_DISCLOSURE,
        Purpose.SAFEGUARDING_CHILDREN,
        Purpose.SAFEGUARDING_ADULTS,
    ],
)
def test_what_protects_a_person_at_risk_is_weighed(purpose: Purpose) -> None:
    (found,) = weighed(replace(harmless(), purposes=(Purpose.MISSING_PERSON, purpose)))
    assert "whoever causes the harm" in found


@pytest.mark.parametrize("body", [{}, {"requester": "elsewhere"}, {"counterpart": ""}])
def test_where_the_other_agency_is_not_known_every_party_counts(body: Mapping[str, JsonInput]) -> None:
    assert any("Part 3" in item for item in weighed(harmless(**{NHS: {"part3": True}}), body))


def test_a_policy_that_is_not_held_is_weighed() -> None:
    (found,) = weighed(None)
    assert "no longer held" in found


@pytest.mark.parametrize(
    ("action", "body"),
    [
        (AuditAction.BREAK_GLASS_INVOKED, TO_POLICE),
        (AuditAction.BREAK_GLASS_REVIEWED, TO_POLICE),
        (RELEASED, {**TO_POLICE, "emergency": True}),
    ],
)
def test_an_emergency_is_weighed(action: AuditAction, body: Mapping[str, JsonInput]) -> None:
    (found,) = weighed(harmless(), body, action)
    assert "emergency" in found


@pytest.mark.parametrize("more", [{"alarm": "identity"}, {"code": "conflict_of_interest"}])
@pytest.mark.parametrize("action", [AuditAction.DISCLOSURE_REFUSED, AuditAction.DISCLOSURE_DECIDED])
def test_suspicions_of_misuse_are_weighed(action: AuditAction, more: dict[str, JsonInput]) -> None:
    (found,) = weighed(harmless(), {**TO_POLICE, **more}, action)
    assert "misuse" in found


@pytest.mark.parametrize("policy", [None, harmless()])
def test_that_somebody_looked_is_weighed(policy: SharingPolicy | None) -> None:
    assert weighed(policy, {}, AuditAction.CONSULTED)


@pytest.mark.parametrize("action", [AuditAction.LINKS_TOLD, AuditAction.LINKS_RECALLED])
def test_links_are_weighed_by_their_counterpart(action: AuditAction) -> None:
    policy = harmless(**{POLICE: {"part3": True}})
    assert weighed(policy, {"counterpart": "police"}, action)
    assert not weighed(policy, {"counterpart": "nhs"}, action)
