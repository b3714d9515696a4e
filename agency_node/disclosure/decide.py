"""What becomes of every field of every record that a request asks for. Pure: nothing is read or written.

Whether a request waits for approvals, and for how many, is decided as if every field were held, of every age
and in every state of consent. So it waits whatever is there, and nobody learns from the waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import product

from agency_node.disclosure.records import CONSENT, LAST_CONTACT_MONTH, Holding, record_value
from agency_node.subjects import CaseRecord
from policies.access import (
    Asker,
    Deny,
    DenyReason,
    FieldDecision,
    FieldRequest,
    NeedsApproval,
    Permit,
    Withhold,
)
from policies.clauses import (
    BUILT_IN_MARKERS,
    LINK_AGENCY,
    LINK_EXISTS,
    LINK_RECORD,
    NO_APPROVALS,
    Approvals,
    Clause,
)
from policies.disclosure import FieldOutcome, Outcome, RecordAsk, ReleasedRecord
from policies.evaluate import PolicyEvaluator
from policies.ids import DocumentId, FieldName, FieldValue, IdError, Line, Marker, RecordType
from policies.vocabulary import Consent, OfficerRole, Purpose

#: Stands for a marker that is no word of the policy language: treated as the strictest.
_UNKNOWN_MARKER = Marker("safe_address")


@dataclass(frozen=True, slots=True)
class Weighed:
    """The decision on a whole request.

    `outcomes` is complete, for the provider's own record; `told` is what the requester may know of it.
    `missing` are the approvals without which a field that is asked for cannot be released.
    """

    outcomes: tuple[FieldOutcome, ...]
    told: tuple[FieldOutcome, ...]
    released: tuple[ReleasedRecord, ...] = field(repr=False)
    missing: Approvals
    emergency: bool


@dataclass(frozen=True, slots=True)
class _Item:
    """One field of one record; `value` is None where only the type is asked about."""

    record: int
    request: FieldRequest
    consent: Consent
    value: str | None = field(repr=False)


AskerFor = Callable[[Consent], Asker]


def content_of(records: Iterable[ReleasedRecord]) -> str:
    """What is released, whatever the random ids of its records: personal data."""
    return "\n".join(
        sorted(
            repr((str(item.record_type), sorted((str(k), str(v)) for k, v in item.fields.items())))
            for item in records
        )
    )


def weigh(
    evaluator: PolicyEvaluator,
    asker: AskerFor,
    asks: Sequence[RecordAsk],
    holding: Holding | None,
    *,
    agency_name: str,
    ceiling: int | None,
    today: date,
    new_id: Callable[[], DocumentId],
) -> Weighed:
    """Decides every field.

    `holding` is None where nothing is held, or nothing may be looked at. `asker` gives the asker for a state
    of consent; `ceiling` is the highest tier that the policy allows at this moment.
    """
    items: list[_Item] = []
    if holding is not None:
        items = [
            *_link_items(asks, agency_name, _markers(evaluator, holding)),
            *_record_items(asks, holding, today),
        ]
    items, decisions = _last_only(items, _decide(evaluator, asker, items, ceiling))
    outcomes = tuple(_outcome(item, decision) for item, decision in zip(items, decisions, strict=True))
    released = _released(items, outcomes, new_id)
    waits = _decide(evaluator, asker, list(_supposed_items(asks, evaluator.ages)), ceiling)
    return Weighed(
        outcomes=outcomes,
        told=_told(items, decisions, outcomes),
        released=released,
        missing=_most(decision.missing for decision in waits if isinstance(decision, NeedsApproval)),
        emergency=any(isinstance(item, Permit) and item.emergency for item in decisions),
    )


def weigh_push(
    evaluator: PolicyEvaluator,
    asker: Callable[[OfficerRole, Purpose, Consent], Asker],
    clauses: Sequence[Clause],
    holding: Holding,
    *,
    agency_name: str,
    ceiling: int | None,
    today: date,
    new_id: Callable[[], DocumentId],
) -> Weighed:
    """Decides what goes out without a request: whatever one of the push clauses releases to *every* role and
    purpose that it names, for nobody knows yet who will read it."""
    asks = _asks_of(clauses)
    items = [
        *_link_items(asks, agency_name, _markers(evaluator, holding)),
        *_record_items(asks, holding, today),
    ]
    numbers: list[set[int]] = [set() for _ in items]
    for clause in clauses:
        agreed = set(range(len(items)))
        for role, purpose in product(clause.officer_roles, clause.purposes):
            decisions = _decide(evaluator, partial(asker, role, purpose), items, ceiling)
            agreed &= {
                place
                for place, decision in enumerate(decisions)
                if isinstance(decision, Permit) and clause.number in decision.clauses
            }
        for place in agreed:
            numbers[place].add(clause.number)
    items, agreed_on = _last_only(
        items, [Permit(tuple(sorted(found))) if found else Deny(DenyReason.NO_CLAUSE) for found in numbers]
    )
    outcomes = tuple(_outcome(item, decision) for item, decision in zip(items, agreed_on, strict=True))
    told = tuple(
        item
        for item in _told(items, [Deny(DenyReason.NO_CLAUSE)] * len(items), outcomes)
        if item.outcome is Outcome.RELEASED
    )
    released = _released(items, outcomes, new_id)
    return Weighed(outcomes, told, released, NO_APPROVALS, emergency=False)


def _asks_of(clauses: Sequence[Clause]) -> tuple[RecordAsk, ...]:
    known: dict[RecordType, dict[FieldName, None]] = {}
    for clause in clauses:
        for record_type in clause.record_types:
            known.setdefault(record_type, {}).update(dict.fromkeys(clause.fields))
    return tuple(RecordAsk(record_type, tuple(names)) for record_type, names in known.items())


def _decide(
    evaluator: PolicyEvaluator, asker: AskerFor, items: Sequence[_Item], ceiling: int | None
) -> list[FieldDecision]:
    """One decision per item; the engine is asked once for each state of consent."""
    decisions: list[FieldDecision] = [Deny(DenyReason.ERROR)] * len(items)
    for consent in Consent:
        places = [place for place, item in enumerate(items) if item.consent is consent]
        if places:
            requests = [items[place].request for place in places]
            answers = evaluator.decide(asker(consent), requests, ceiling=ceiling)
            for place, answer in zip(places, answers, strict=True):
                decisions[place] = answer
    for place, item in enumerate(items):
        if isinstance(decisions[place], Permit) and item.value is not None and not _releasable(item.value):
            decisions[place] = Deny(DenyReason.ERROR)
    return decisions


def _markers(evaluator: PolicyEvaluator, holding: Holding) -> frozenset[Marker]:
    """The subject's own markers that clauses of the policy name: they count for the link itself too.

    Where a person must not be found out is not in that, and says nothing against that there is contact.
    """
    named = evaluator.policy.named_markers - BUILT_IN_MARKERS
    return frozenset(_marker(text) for text in holding.subject.markers) & named


def _link_items(asks: Sequence[RecordAsk], agency_name: str, markers: frozenset[Marker]) -> Iterator[_Item]:
    """Tier 0: that there is a link, and with whom. Record 0."""
    for ask in asks:
        if ask.record_type == LINK_RECORD:
            for name in ask.fields:
                value = {LINK_EXISTS: "yes", LINK_AGENCY: agency_name}.get(name)
                if value is not None:
                    asked = FieldRequest(LINK_RECORD, name, 0, markers)
                    yield _Item(0, asked, Consent.NOT_RECORDED, value)


def _record_items(asks: Sequence[RecordAsk], holding: Holding, today: date) -> Iterator[_Item]:
    wanted = {ask.record_type: ask.fields for ask in asks if ask.record_type != LINK_RECORD}
    for number, record in enumerate(holding.records, 1):
        names: tuple[FieldName, ...] = next(
            (fields for kind, fields in wanted.items() if kind == record.record_type), ()
        )
        if not names:
            continue
        kind = RecordType(record.record_type)
        # A date that has yet to come is a slip, and the age is not known.
        age = None if record.occurred is None or record.occurred > today else (today - record.occurred).days
        markers = frozenset(_marker(text) for text in record.markers)
        for name in names:
            value = record_value(record, name)
            if value is not None:
                shown = FieldValue.cleaned(value)
                yield _Item(number, FieldRequest(kind, name, age, markers), _consent(record), shown)


def _supposed_items(asks: Sequence[RecordAsk], ages: Sequence[int | None]) -> Iterator[_Item]:
    for ask in asks:
        for name, age, consent in product(ask.fields, ages, Consent):
            yield _Item(0, FieldRequest(ask.record_type, name, age), consent, None)


def _last_only(
    items: Sequence[_Item], decisions: Sequence[FieldDecision]
) -> tuple[list[_Item], list[FieldDecision]]:
    """Of the months of contact over records of one type, the last that may be released.

    So a record that is withheld does not show through the month that another one bears.
    """
    last: dict[RecordType, int] = {}
    for place, (item, decision) in enumerate(zip(items, decisions, strict=True)):
        if item.request.field == LAST_CONTACT_MONTH and isinstance(decision, Permit):
            best = last.setdefault(item.request.record_type, place)
            if (item.value or "") > (items[best].value or ""):
                last[item.request.record_type] = place
    kept = [
        place
        for place, item in enumerate(items)
        if item.request.field != LAST_CONTACT_MONTH or last.get(item.request.record_type, place) == place
    ]
    return [items[place] for place in kept], [decisions[place] for place in kept]


def _consent(record: CaseRecord) -> Consent:
    """What the record says; a word that is not known counts as a refusal."""
    text = record.fields.get(CONSENT, "").strip().lower()
    if not text:
        return Consent.NOT_RECORDED
    try:
        return Consent(text)
    except ValueError:
        return Consent.REFUSED


def _marker(text: str) -> Marker:
    try:
        return Marker(text)
    except IdError:
        return _UNKNOWN_MARKER


def _releasable(value: str) -> bool:
    try:
        FieldValue(value)
    except IdError:
        return False
    return True


def _outcome(item: _Item, decision: FieldDecision) -> FieldOutcome:
    match decision:
        case Permit():
            outcome = Outcome.RELEASED
        case Withhold():
            outcome = Outcome.WITHHELD
        case NeedsApproval():
            outcome = Outcome.NEEDS_APPROVAL
        case Deny():
            outcome = Outcome.DENIED
    return FieldOutcome(
        item.record,
        item.request.record_type,
        item.request.field,
        outcome,
        decision.clauses,
        Line(str(decision)),
    )


def _released(
    items: Sequence[_Item], outcomes: Sequence[FieldOutcome], new_id: Callable[[], DocumentId]
) -> tuple[ReleasedRecord, ...]:
    records: dict[int, dict[FieldName, FieldValue]] = {}
    kinds: dict[int, RecordType] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        if outcome.outcome is Outcome.RELEASED and item.value is not None:
            records.setdefault(item.record, {})[item.request.field] = FieldValue(item.value)
            kinds[item.record] = item.request.record_type
    return tuple(ReleasedRecord(new_id(), kinds[number], fields) for number, fields in records.items())


def _told(
    items: Sequence[_Item], decisions: Sequence[FieldDecision], outcomes: Sequence[FieldOutcome]
) -> tuple[FieldOutcome, ...]:
    """What became of each field of a type, once, without counts, for types of which something is released.

    A safe address is never told of: that there is one is already too much.
    """
    types = {item.record_type for item in outcomes if item.outcome is Outcome.RELEASED}
    told: dict[tuple[str, str, str, tuple[int, ...]], FieldOutcome] = {}
    for item, decision, outcome in zip(items, decisions, outcomes, strict=True):
        hidden = isinstance(decision, Withhold) and decision.builtin is not None
        if item.request.record_type not in types or hidden:
            continue
        key = (outcome.record_type, outcome.field, outcome.outcome.value, outcome.clauses)
        told.setdefault(
            key,
            FieldOutcome(
                0, outcome.record_type, outcome.field, outcome.outcome, outcome.clauses, outcome.reason
            ),
        )
    return tuple(told[key] for key in sorted(told))


def _most(missing: Iterator[Approvals]) -> Approvals:
    found = list(missing)
    if not found:
        return NO_APPROVALS
    from_provider = max(item.from_provider for item in found)
    return Approvals(max(max(item.count for item in found), from_provider), from_provider)
