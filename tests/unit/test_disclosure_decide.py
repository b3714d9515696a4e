"""Decisions on what is held: markers of the subject as a whole, odd dates, the last month of contact."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import count

import pytest

from agency_node.disclosure.decide import Weighed, weigh
from agency_node.disclosure.records import Holding
from agency_node.subjects import CaseRecord, Identity, RecordId, Subject, SubjectId
from policies.access import Asker
from policies.clauses import Approvals
from policies.disclosure import Outcome, RecordAsk
from policies.evaluate import PolicyEvaluator
from policies.ids import DocumentId, FieldName, RecordType
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from tests.simulator.policies import CARE, NOW, POLICE, sample_policy

EVALUATOR = PolicyEvaluator(sample_policy())
TODAY = NOW.date()


def held(
    kind: str, occurred: date | None, *, consent: str = "given", markers: Iterable[str] = ()
) -> CaseRecord:
    fields = {"summary": "s", "consent": consent}
    return CaseRecord(RecordId("R1"), SubjectId("S1"), kind, occurred, fields, frozenset(markers))


def decided(
    kind: str,
    field: str,
    records: Sequence[CaseRecord] = (),
    *,
    markers: Iterable[str] = (),
    approvals: int = 0,
) -> Weighed:
    """What becomes of one field that the police ask for, of a subject with these markers."""
    numbers = count()

    def asker(consent: Consent) -> Asker:
        return Asker(
            provider=CARE,
            recipient=POLICE,
            role=OfficerRole.INVESTIGATOR,
            purpose=Purpose.DOMESTIC_ABUSE_RISK,
            tier=2,
            strength=Strength.STRONG,
            consent=consent,
            approvals=Approvals(approvals, 0),
        )

    subject = Subject(SubjectId("S1"), "person", (Identity({}),), frozenset(markers))
    return weigh(
        EVALUATOR,
        asker,
        (RecordAsk(RecordType(kind), (FieldName(field),)),),
        Holding(subject, tuple(records)),
        agency_name="Testshire care",
        ceiling=3,
        today=TODAY,
        new_id=lambda: DocumentId(f"record-{next(numbers):08d}"),
    )


@pytest.mark.parametrize(
    ("markers", "told"), [((), True), (("legally_privileged",), False), (("refuge", "restricted"), True)]
)
def test_a_subject_that_a_clause_withholds_as_a_whole_is_not_even_told_of(
    markers: tuple[str, ...], told: bool
) -> None:
    """Clause 5 of the policy withholds whatever is privileged; a refuge says nothing against contact."""
    assert bool(decided("link", "exists", markers=markers).released) is told


@pytest.mark.parametrize(
    ("occurred", "released"), [(TODAY, True), (TODAY + timedelta(days=1), False), (None, False)]
)
def test_a_date_that_has_yet_to_come_is_an_age_that_is_not_known(
    occurred: date | None, released: bool
) -> None:
    """Clause 3 asks for an age of two years at most."""
    weighed = decided("incident", "summary", [held("incident", occurred)], approvals=1)
    assert bool(weighed.released) is released


def test_a_value_is_released_without_characters_that_nobody_sees() -> None:
    seen = held("incident", TODAY)
    odd = replace(seen, fields={**seen.fields, "summary": "Shouting.\r\n\u202eNo arrest.\x9b2J\x00"})
    (released,) = decided("incident", "summary", [odd], approvals=1).released
    assert released.fields == {"summary": "Shouting.\nNo arrest.2J"}


def test_the_last_month_of_contact_is_that_of_what_may_be_released() -> None:
    """Clause 2 releases it where consent was not refused."""
    records = [
        held("risk_assessment", date(2026, 2, 1), markers=["refuge"]),
        held("risk_assessment", date(2026, 1, 5), consent="refused"),
        held("risk_assessment", date(2025, 6, 3)),
        held("risk_assessment", date(2025, 11, 3)),
        held("incident", date(2025, 12, 1)),
    ]
    weighed = decided("risk_assessment", "last_contact_month", records)
    assert [item.fields for item in weighed.released] == [{"last_contact_month": "2025-11"}]
    assert [item.outcome for item in weighed.told] == [Outcome.RELEASED]
