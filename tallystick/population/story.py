"""Susan's and Alan's ten years, read from ``data/story.toml``.

Susan is held by all five agencies under different names, addresses and dates; Alan by four, and he was
never charged. A fire at a home that she had left is recorded against the place alone. Both people are
invented.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Final

from tallystick.population.geography import address_at, town_named
from tallystick.population.model import (
    AS_OF,
    NORTHMOOR_POLICE,
    Address,
    AgencyId,
    HeldAddress,
    HeldName,
    HeldRecord,
    HeldSubject,
    Person,
    PersonId,
    Residence,
)
from tallystick.population.records import address_line

SUSAN: Final = PersonId(1)
ALAN: Final = PersonId(2)
_PERSON_BY_KEY: Final[Mapping[str, PersonId]] = {"susan": SUSAN, "alan": ALAN}
_FIRST_KEY: Final = 900_000_001  # beyond the keys that a Gazetteer hands out

_Table = Mapping[str, Any]  # what tomllib returns


@dataclass(frozen=True, slots=True, repr=False)
class StoryEvent:
    """One entry of the true timeline. ``person`` is None for the fire, which names nobody."""

    agency: AgencyId
    record_id: str
    record_type: str
    occurred: date
    person: PersonId | None
    summary: str

    def __repr__(self) -> str:
        return f"StoryEvent({self.agency}, {self.record_id}, redacted)"


@dataclass(frozen=True, slots=True)
class Story:
    """The ids by which the demo finds the story in the agencies' data, with dates as of :data:`AS_OF`."""

    subjects: Mapping[PersonId, Mapping[AgencyId, str]]
    timeline: tuple[StoryEvent, ...]
    arson_agency: AgencyId
    arson_record: str
    arson_place: str

    def of(self, person: PersonId) -> tuple[StoryEvent, ...]:
        """The events about one person, the oldest first."""
        return tuple(event for event in self.timeline if event.person == person)


@cache
def _source() -> _Table:
    text = (resources.files("tallystick.population") / "data" / "story.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def story_addresses() -> Mapping[str, Address]:
    return {
        name: address_at(key, row["house"], row["number"], row["street"], town_named(row["town"]))
        for key, (name, row) in enumerate(_source()["address"].items(), _FIRST_KEY)
    }


def _shift(day: date, as_of: date) -> date:
    return day + (as_of - AS_OF)


def story_people(as_of: date = AS_OF) -> tuple[Person, ...]:
    """Susan and Alan in truth. Their dates of birth stay; what happened moves with ``as_of``."""
    return tuple(_person(row, as_of) for row in _source()["person"])


def _person(row: _Table, as_of: date) -> Person:
    homes = tuple(
        Residence(
            story_addresses()[home["at"]],
            _shift(home["since"], as_of),
            _shift(home["until"], as_of) if "until" in home else None,
        )
        for home in row["residences"]
    )
    return Person(
        person_id=PersonId(row["id"]),
        household=0,
        origin="british",
        given=row["given"],
        middle=row["middle"],
        family=row["family"],
        former_family=row["former_family"],
        sex=row["sex"],
        born=row["born"],
        nhs_number=row["nhs_number"],
        phone=row["phone"],
        email=row["email"],
        residences=homes,
    )


def held_in_story(agency: AgencyId, as_of: date = AS_OF) -> Mapping[PersonId, HeldSubject]:
    """Susan and Alan as one agency holds them, with their records."""
    return {
        _PERSON_BY_KEY[row["person"]]: _held(row, as_of)
        for row in _source()["held"]
        if row["agency"] == agency
    }


def _held(row: _Table, as_of: date) -> HeldSubject:
    return HeldSubject(
        subject_id=row["subject_id"],
        given=row["given"],
        middle=row.get("middle", ""),
        family=row["family"],
        born=row["born"],
        sex=row["sex"],
        nhs_number=row.get("nhs_number", ""),
        phone=row.get("phone", ""),
        email=row.get("email", ""),
        consent=row.get("consent", "not_recorded"),
        address=_held_address(row["address"]),
        other_names=tuple(HeldName(**name) for name in row.get("names", ())),
        former_addresses=tuple(_held_address(name) for name in row.get("former", ())),
        records=tuple(
            _record(record, row["subject_id"], as_of)
            for record in _source()["record"]
            if record["agency"] == row["agency"] and record["about"] == row["person"]
        ),
        markers=tuple(row.get("markers", ())),
    )


def place_records_in_story(agency: AgencyId, as_of: date = AS_OF) -> tuple[HeldRecord, ...]:
    """The story's records about a place alone: the fire."""
    rows = _source()["record"]
    return tuple(
        _record(row, "", as_of) for row in rows if row["agency"] == agency and row["about"] == "place"
    )


def _held_address(name: str) -> HeldAddress:
    home = story_addresses()[name]
    return HeldAddress(home.key, home.house, home.street, home.town, home.postcode, home.uprn)


def _record(row: _Table, subject_id: str, as_of: date) -> HeldRecord:
    place = _held_address(row["at"]) if "at" in row else None
    fields = dict(row["fields"])
    if row["type"] == "tenancy" and place:
        fields["address"] = address_line(place)
    return HeldRecord(
        record_id=row["id"],
        subject_id=subject_id,
        record_type=row["type"],
        occurred=_shift(row["occurred"], as_of),
        fields=fields,
        consent=row.get("consent", "not_recorded"),
        place=place,
        markers=tuple(row.get("markers", ())),
    )


def _story() -> Story:
    subjects: dict[PersonId, dict[AgencyId, str]] = {SUSAN: {}, ALAN: {}}
    for row in _source()["held"]:
        subjects[_PERSON_BY_KEY[row["person"]]][AgencyId(row["agency"])] = row["subject_id"]
    events = [
        StoryEvent(
            AgencyId(row["agency"]),
            row["id"],
            row["type"],
            row["occurred"],
            _PERSON_BY_KEY.get(row["about"]),
            row["fields"]["summary"],
        )
        for row in _source()["record"]
    ]
    (arson,) = (event for event in events if event.person is None)
    return Story(
        subjects=subjects,
        timeline=tuple(sorted(events, key=lambda event: (event.occurred, event.agency, event.record_id))),
        arson_agency=arson.agency,
        arson_record=arson.record_id,
        arson_place=STORY_PLACE_ID[(NORTHMOOR_POLICE, "foundry")],
    )


STORY_PLACE_ID: Final[Mapping[tuple[AgencyId, str], str]] = {(NORTHMOOR_POLICE, "foundry"): "NMP-PL-9000001"}
STORY_NHS_NUMBERS: Final = frozenset(row["nhs_number"] for row in _source()["person"])
STORY: Final = _story()
