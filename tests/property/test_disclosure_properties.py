"""Padding, timing, and what a decision may tell, for anything that could be asked and held."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_node.disclosure.context import departure
from agency_node.disclosure.decide import Weighed, weigh
from agency_node.disclosure.evidence import confirms, evidence_of
from agency_node.disclosure.messages import (
    SIZE_CLASSES,
    AnswerTooLargeError,
    DisclosureAnswer,
    padded,
)
from agency_node.disclosure.records import Holding
from agency_node.subjects import CaseRecord, Identity, RecordId, Subject, SubjectId
from policies.access import Asker
from policies.agreement import SubjectType
from policies.clauses import Approvals
from policies.codec import parse, write
from policies.disclosure import DisclosureRefusal, FieldOutcome, Outcome, RecordAsk, RefusalCode
from policies.evaluate import PolicyEvaluator
from policies.ids import DocumentId, FieldName, Hash256, Line, Prose, RecordType
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.policies import CARE, NOW, POLICE, sample_policy

POLICY = sample_policy()
EVALUATOR = PolicyEvaluator(POLICY)
REFUSAL = DisclosureRefusal(
    DocumentId("refusal-0001"), Hash256("a" * 64), RefusalCode.NOT_AVAILABLE, Prose("Nothing."), NOW
)


def answer(outcomes: int, reason: str = "x") -> DisclosureAnswer:
    item = FieldOutcome(0, RecordType("incident"), FieldName("summary"), Outcome.RELEASED, (1,), Line(reason))
    return DisclosureAnswer((item,) * outcomes, (), Hash256("b" * 64), refusal=REFUSAL)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(1, 300))
def test_an_answer_has_exactly_one_of_the_sizes_and_reads_back(outcomes: int, length: int) -> None:
    made = padded(answer(outcomes, "x" * length))
    data = write(made)
    assert len(data) in SIZE_CLASSES
    assert parse(DisclosureAnswer, data) == made and made.outcomes == answer(outcomes, "x" * length).outcomes


@pytest.mark.parametrize("short_of", range(6))
def test_sizes_just_below_a_class(short_of: int) -> None:
    bare = len(write(answer(1)))
    made = padded(answer(1, "x" * (1 + (SIZE_CLASSES[0] - bare) % 250)))
    assert len(write(made)) == SIZE_CLASSES[0]
    rows = next(n for n in range(1, 1000) if len(write(answer(n))) > SIZE_CLASSES[0] - 400)
    for extra in range(1, 300):
        candidate = answer(rows, "x" * extra)
        if len(write(candidate)) == SIZE_CLASSES[0] - short_of:
            expected = SIZE_CLASSES[1] if short_of == 1 else SIZE_CLASSES[0]
            assert len(write(padded(candidate))) == expected


def test_what_is_too_large_is_never_cut() -> None:
    with pytest.raises(AnswerTooLargeError):
        padded(answer(4_000, "x" * 290))


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
def test_answers_leave_on_the_stroke_after_the_work_is_done(milliseconds: int, seconds: float) -> None:
    asked = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    done = asked + timedelta(milliseconds=milliseconds)
    leaves = departure(asked, done, seconds)
    assert done < leaves <= done + timedelta(seconds=seconds)
    assert ((leaves - asked) / timedelta(seconds=seconds)).is_integer()


# -- decisions

TYPES = ["incident", "risk_assessment", "contact"]
FIELDS = ["summary", "notes", "risk_band", "last_contact_month", "occurred", "safe_address"]
records = st.builds(
    lambda number, kind, occurred, consent, markers: CaseRecord(
        RecordId(f"R{number}"),
        SubjectId("S1"),
        kind,
        occurred,
        {"summary": "s", "notes": "n", "risk_band": "high", "safe_address": "1 Hidden Lane", **consent},
        frozenset(markers),
    ),
    st.integers(0, 9),
    st.sampled_from(TYPES),
    st.none() | st.dates(date(2010, 1, 1), date(2026, 3, 1)),
    st.sampled_from([{}, {"consent": "given"}, {"consent": "refused"}, {"consent": "perhaps"}]),
    st.sets(st.sampled_from(["safe_address", "refuge", "legally_privileged", "restricted", "Not A Word!"])),
)
asks = st.dictionaries(
    st.sampled_from([*TYPES, "link"]), st.lists(st.sampled_from(FIELDS), min_size=1, unique=True), min_size=1
).map(
    lambda chosen: tuple(
        RecordAsk(RecordType(kind), tuple(map(FieldName, names))) for kind, names in chosen.items()
    )
)


@settings(max_examples=80, deadline=None)
@given(
    asks,
    st.lists(records, max_size=4),
    st.integers(0, 3),
    st.sampled_from(Strength),
    st.sampled_from([Approvals(0, 0), Approvals(1, 0), Approvals(2, 1)]),
    st.booleans(),
)
def test_what_is_released_and_told(
    asked: tuple[RecordAsk, ...],
    held: list[CaseRecord],
    tier: int,
    strength: Strength,
    approvals: Approvals,
    emergency: bool,
) -> None:
    numbers = count()

    def asker(consent: Consent) -> Asker:
        return Asker(
            CARE, POLICE, OfficerRole.INVESTIGATOR, Purpose.DOMESTIC_ABUSE_RISK, tier, strength, consent,
            approvals, emergency,
        )  # fmt: skip

    def decide(holding: Holding | None) -> Weighed:
        return weigh(
            EVALUATOR, asker, asked, holding, agency_name="Testshire care", ceiling=3, today=NOW.date(),
            new_id=lambda: DocumentId(f"record-{next(numbers):08d}"),
        )  # fmt: skip

    subject = Subject(SubjectId("S1"), "person", (Identity({}),))
    weighed = decide(Holding(subject, tuple(held)))
    wanted = {(item.record_type, name) for item in asked for name in item.fields}
    released = {(item.record_type, name) for item in weighed.released for name in item.fields}
    assert released <= wanted
    values = [value for item in weighed.released for value in item.fields.values()]
    assert "1 Hidden Lane" not in values
    marked = [number for number, item in enumerate(held, 1) if item.markers]
    assert not any(item.outcome is Outcome.RELEASED and item.record in marked for item in weighed.outcomes)
    assert {item.record_type for item in weighed.told} <= {item.record_type for item in weighed.released}
    assert "safe address" not in repr(weighed.told) and "marked with" not in repr(weighed.told)
    # Whether it waits does not say whether anything is there.
    nothing = decide(None)
    assert nothing.missing == weighed.missing
    assert nothing.released == () and nothing.told == ()


def test_the_evidence_of_a_place_is_more_than_a_street_and_a_postcode() -> None:
    def place(**fields: str) -> Subject:
        return Subject(SubjectId("U1"), "place", (Identity(fields),))

    here = place(uprn="100", house="14", street="HIGH STREET", postcode="NM12AB")
    keys = [b"k" * 32, b"l" * 32]
    evidence = evidence_of(here, SubjectType.PLACE, POLICY, b"k" * 32, "r1")
    assert confirms(evidence, here, SubjectType.PLACE, keys, "r1")
    next_door = place(uprn="101", house="16", street="HIGH STREET", postcode="NM12AB")
    assert not confirms(evidence, next_door, SubjectType.PLACE, keys, "r1")
    assert not confirms(evidence, here, SubjectType.PLACE, keys, "r2")
    assert not confirms(evidence, here, SubjectType.PLACE, [b"x" * 32], "r1")


@pytest.mark.parametrize("marker", ["refuge", "safe_address", "refugee", "Not A Word!"])
def test_a_protected_place_gives_no_evidence(marker: str) -> None:
    where = Identity({"uprn": "100", "house": "14", "postcode": "NM12AB"})
    refuge = Subject(SubjectId("U1"), "place", (where,), frozenset({marker}))
    with pytest.raises(RefusedError) as refused:
        evidence_of(refuge, SubjectType.PLACE, POLICY, b"k" * 32, "r1")
    assert refused.value.code is ErrorCode.NOT_ALLOWED
