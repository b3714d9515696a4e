"""Everyday case records: what each kind of agency writes about the people it holds.

Texts are short, factual and generic. The fields of each record type are fixed (:data:`RECORD_FIELDS`), so
that a mapping file can name them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from random import Random
from typing import Final

from tallystick.population.lexicon import Weighted
from tallystick.population.model import (
    HAVEN_CHARITY,
    NORTHMOOR_CARE,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    VALE_NHS,
    AgencyId,
    Consent,
    HeldAddress,
    HeldRecord,
    RecordType,
)

RECORD_FIELDS: Final[Mapping[RecordType, tuple[str, ...]]] = {
    "incident": ("category", "role", "risk_flag", "summary", "outcome"),
    "risk_assessment": ("tool", "yes_answers", "risk_band", "marac_referred", "summary"),
    "referral": ("source", "reason", "summary", "outcome"),
    "contact": ("method", "reason", "summary"),
    "attendance": ("department", "presentation", "disclosed", "summary", "outcome"),
    "assessment": ("kind", "risk_band", "summary", "outcome"),
    "tenancy": ("tenure", "ended", "address", "summary"),
    "support_plan": ("kind", "risk_band", "summary", "outcome"),
}
"""Field names by record type, in column order; date, subject, consent and markers are columns of every
type."""

RECORD_TYPES: Final[Mapping[AgencyId, tuple[RecordType, ...]]] = {
    NORTHMOOR_POLICE: ("incident", "risk_assessment"),
    SOUTHVALE_POLICE: ("incident", "risk_assessment"),
    NORTHMOOR_CARE: ("contact", "referral", "assessment"),
    VALE_NHS: ("attendance", "contact"),
    HAVEN_CHARITY: ("contact", "risk_assessment", "support_plan", "tenancy"),
}
"""The record types of each agency, the commonest first."""

RECORD_PREFIX: Final[Mapping[RecordType, str]] = {
    "incident": "INC",
    "risk_assessment": "RA",
    "referral": "REF",
    "contact": "CON",
    "attendance": "ATT",
    "assessment": "ASM",
    "tenancy": "TEN",
    "support_plan": "SUP",
}

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "incident.category": (
        "domestic incident",
        "anti-social behaviour",
        "criminal damage",
        "theft",
        "public order",
        "harassment",
        "concern for welfare",
        "road traffic",
    ),
    "incident.role": ("victim", "witness", "reporting person", "suspect", "other party"),
    "incident.risk_flag": ("none", "none", "none", "domestic_abuse", "mental_health", "child_present"),
    "incident.summary": (
        "Call from a neighbour about a disturbance.",
        "Report made at the front counter.",
        "Officers attended and spoke to those present.",
        "Report received by telephone.",
        "Report received through the website.",
    ),
    "incident.outcome": (
        "no further action",
        "words of advice",
        "under investigation",
        "no offences disclosed",
        "community resolution",
        "filed pending further information",
    ),
    "risk_assessment.tool": ("DASH",),
    "risk_assessment.marac_referred": ("no",),
    "risk_assessment.summary": (
        "Completed with the person in private.",
        "Completed by telephone.",
        "Some questions were not answered.",
    ),
    "referral.source": ("school", "police", "GP", "health visitor", "self", "housing officer", "hospital"),
    "referral.reason": ("early help", "adult safeguarding", "child in need", "carer support", "housing need"),
    "referral.summary": (
        "Referral received and screened.",
        "Further information requested from the referrer.",
    ),
    "referral.outcome": ("accepted", "signposted", "no further action", "passed to early help"),
    "contact.method": ("telephone", "in person", "e-mail", "letter", "home visit"),
    "contact.reason": ("advice", "information request", "follow-up", "appointment", "welfare"),
    "contact.summary": (
        "Advice given.",
        "Message left, call returned the same day.",
        "Appointment arranged.",
        "Information sent by post.",
    ),
    "attendance.department": ("A&E", "minor injuries", "GP", "walk-in centre"),
    "attendance.presentation": (
        "fall",
        "chest pain",
        "laceration",
        "sprain",
        "abdominal pain",
        "headache",
        "anxiety",
        "fever",
    ),
    "attendance.disclosed": ("no",),
    "attendance.summary": ("Seen by a nurse practitioner.", "Seen by a doctor.", "X-ray taken, no fracture."),
    "attendance.outcome": ("discharged", "discharged to GP", "admitted", "left before being seen"),
    "assessment.kind": ("child and family", "care needs", "carer", "adult safeguarding enquiry"),
    "assessment.summary": ("Assessment completed.", "Assessment completed with the family's agreement."),
    "assessment.outcome": ("no further action", "support plan", "closed", "stepped down"),
    "tenancy.tenure": ("refuge licence", "move-on flat", "dispersed accommodation"),
    "tenancy.ended": ("",),
    "tenancy.summary": ("Licence signed.",),
    "support_plan.kind": ("outreach", "refuge", "floating support"),
    "support_plan.summary": ("Plan agreed and reviewed monthly.", "Plan agreed."),
    "support_plan.outcome": ("open", "closed", "moved on"),
}
_RISK_BANDS: Final = Weighted(["standard", "medium", "high"], [0.66, 0.25, 0.09])
_RECORDS_EACH: Final = Weighted([0, 1, 2, 3, 5], [0.12, 0.52, 0.22, 0.10, 0.04])
_YES_ANSWERS: Final[Mapping[str, tuple[int, int]]] = {"standard": (0, 8), "medium": (6, 8), "high": (14, 9)}


_RESPONSIBLE_AGE: Final = 12 * 365  # in days; younger children are recorded as present, never as a party
_DERIVED: Final = frozenset({"yes_answers", "address"})


def address_line(place: HeldAddress) -> str:
    """An address on one line, as a clerk types it into a free-text field."""
    return ", ".join(part for part in (f"{place.house} {place.street}", place.town, place.postcode) if part)


class RecordMaker:
    """Makes the everyday records of one agency, numbering them per record type."""

    def __init__(self, rng: Random, agency: AgencyId, as_of: date, first_number: int = 1) -> None:
        self._rng = rng
        self._as_of = as_of
        kinds = RECORD_TYPES[agency]
        self._kinds = Weighted(kinds, [1 / (rank + 1) ** 1.5 for rank in range(len(kinds))])
        self._consents: Weighted[Consent] = Weighted(["not_recorded", "given", "refused"], [0.7, 0.27, 0.03])
        self._numbers = dict.fromkeys(kinds, first_number - 1)

    def for_subject(self, subject_id: str, born: date, place: HeldAddress | None) -> tuple[HeldRecord, ...]:
        """The records of one subject, the oldest first, none from before birth."""
        count = _RECORDS_EACH.draw(self._rng)
        days = min((self._as_of - born).days, 3650)
        if count == 0 or days < 2:
            return ()
        ages = sorted((int(self._rng.random() * days) for _ in range(count)), reverse=True)
        grown = (self._as_of - born).days - _RESPONSIBLE_AGE
        return tuple(self._record(subject_id, age, place, child=age > grown) for age in ages)

    def for_places(self, places: Iterator[HeldAddress]) -> Iterator[HeldRecord]:
        """Incidents about a place alone, with nobody named."""
        for place in places:
            yield self._record("", int(self._rng.random() * 3650), place, "incident")

    def _record(
        self,
        subject_id: str,
        days_ago: int,
        place: HeldAddress | None,
        kind: RecordType | None = None,
        *,
        child: bool = False,
    ) -> HeldRecord:
        kind = kind or self._kinds.draw(self._rng)
        self._numbers[kind] += 1
        fields = {name: self._value(kind, name) for name in RECORD_FIELDS[kind] if name not in _DERIVED}
        if kind == "risk_assessment":
            least, span = _YES_ANSWERS[fields["risk_band"]]
            fields["yes_answers"] = str(least + int(self._rng.random() * span))
            fields["marac_referred"] = "yes" if fields["risk_band"] == "high" else "no"
        if kind == "tenancy":
            fields["address"] = address_line(place) if place else ""
        if kind == "incident" and not subject_id:
            fields["role"] = ""
        if kind == "incident" and child:
            fields["role"] = "child present"
        return HeldRecord(
            record_id=f"{RECORD_PREFIX[kind]}-{self._numbers[kind]:07d}",
            subject_id=subject_id,
            record_type=kind,
            occurred=self._as_of - timedelta(days=days_ago),
            fields=fields,
            consent=self._consents.draw(self._rng) if subject_id else "not_recorded",
            place=place if kind == "incident" else None,
        )

    def _value(self, kind: RecordType, name: str) -> str:
        if name == "risk_band":
            return _RISK_BANDS.draw(self._rng)
        choices = _CHOICES[f"{kind}.{name}"]
        return choices[int(self._rng.random() * len(choices))]
