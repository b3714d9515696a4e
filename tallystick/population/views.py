"""What each agency wrote down about the people it holds: the truth through its own habits.

A police force rarely has an NHS number and often an address from the time of an incident; a trust has the
number almost always; a charity asks for little and uses the name that people give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from tallystick.population.generate import rng_for
from tallystick.population.lexicon import nicknames
from tallystick.population.model import (
    HAVEN_CHARITY,
    NORTHMOOR_CARE,
    NORTHMOOR_POLICE,
    SAFE_ADDRESS,
    SOUTHVALE_POLICE,
    VALE_NHS,
    Address,
    AgencyId,
    Consent,
    HeldAddress,
    HeldName,
    HeldRecord,
    HeldSubject,
    Person,
    PersonId,
    Population,
)
from tallystick.population.records import RecordMaker
from tallystick.population.slips import date_slip, digit_slip, name_slip, plain_letters
from tallystick.population.story import STORY, held_in_story, place_records_in_story


@dataclass(frozen=True, slots=True)
class Habits:
    """How an agency records people; each number is a probability."""

    prefix: str
    nhs_number: float
    phone: float
    email: float
    middle_name: float
    address: float
    old_address: float
    knows_former_address: float
    old_name: float
    knows_former_name: float
    nickname: float
    name_slip: float
    date_slip: float
    no_date: float
    postcode_slip: float
    plain_letters: float
    safe_address: float
    consent_given: float


_POLICE = Habits(
    prefix="NMP",
    nhs_number=0.01,
    phone=0.62,
    email=0.12,
    middle_name=0.45,
    address=0.94,
    old_address=0.24,
    knows_former_address=0.55,
    old_name=0.22,
    knows_former_name=0.45,
    nickname=0.10,
    name_slip=0.06,
    date_slip=0.04,
    no_date=0.03,
    postcode_slip=0.03,
    plain_letters=0.95,
    safe_address=0.004,
    consent_given=0.02,
)

HABITS: Final[Mapping[AgencyId, Habits]] = {
    NORTHMOOR_POLICE: _POLICE,
    SOUTHVALE_POLICE: replace(_POLICE, prefix="SVP", name_slip=0.07, plain_letters=0.80),
    NORTHMOOR_CARE: replace(
        _POLICE,
        prefix="NMC",
        nhs_number=0.34,
        phone=0.70,
        email=0.25,
        middle_name=0.40,
        old_address=0.16,
        knows_former_address=0.70,
        old_name=0.14,
        knows_former_name=0.60,
        nickname=0.06,
        name_slip=0.05,
        plain_letters=0.60,
        safe_address=0.01,
        consent_given=0.35,
    ),
    VALE_NHS: replace(
        _POLICE,
        prefix="VNH",
        nhs_number=0.985,
        phone=0.80,
        email=0.45,
        middle_name=0.60,
        address=0.985,
        old_address=0.10,
        knows_former_address=0.75,
        old_name=0.12,
        knows_former_name=0.70,
        nickname=0.02,
        name_slip=0.025,
        date_slip=0.012,
        no_date=0.001,
        postcode_slip=0.015,
        plain_letters=0.40,
        safe_address=0.003,
        consent_given=0.25,
    ),
    HAVEN_CHARITY: replace(
        _POLICE,
        prefix="HVN",
        nhs_number=0.07,
        phone=0.85,
        email=0.40,
        middle_name=0.08,
        address=0.80,
        old_address=0.18,
        knows_former_address=0.60,
        old_name=0.10,
        knows_former_name=0.50,
        nickname=0.20,
        name_slip=0.06,
        date_slip=0.03,
        no_date=0.07,
        plain_letters=0.30,
        safe_address=0.12,
        consent_given=0.70,
    ),
}

_PLACE_INCIDENTS = 0.03  # of the number of subjects


def subject_ids(population: Population, agency: AgencyId) -> Iterator[tuple[PersonId, str]]:
    """Who is who: every person that the agency holds, with its own number for them. For scoring only."""
    prefix = HABITS[agency].prefix
    for number, person_id in enumerate(population.held[agency], start=1):
        yield person_id, STORY.subjects.get(person_id, {}).get(agency) or f"{prefix}-{number:07d}"


def held_subjects(population: Population, agency: AgencyId) -> Iterator[HeldSubject]:
    """The agency's subjects in the order of its own numbering, made one at a time."""
    story = held_in_story(agency, population.as_of)
    clerk = _Clerk(population, agency)
    for person_id, subject_id in subject_ids(population, agency):
        yield story.get(person_id) or clerk.hold(population.people[person_id], subject_id)


def place_records(population: Population, agency: AgencyId) -> Iterator[HeldRecord]:
    """Incidents recorded against a place alone; only the police have any."""
    if agency not in (NORTHMOOR_POLICE, SOUTHVALE_POLICE):
        return
    rng = rng_for(population.seed, f"place records {agency}")
    held = population.held[agency]
    count = max(1, round(len(held) * _PLACE_INCIDENTS))
    homes = (population.people[held[rng.randrange(len(held))]].home for _ in range(count))
    maker = RecordMaker(rng, agency, population.as_of, first_number=5_000_001)
    yield from maker.for_places(exactly(home) for home in homes)
    yield from place_records_in_story(agency, population.as_of)


def exactly(home: Address) -> HeldAddress:
    return HeldAddress(home.key, home.house, home.street, home.town, home.postcode, home.uprn)


class _Clerk:
    """Writes people down for one agency."""

    def __init__(self, population: Population, agency: AgencyId) -> None:
        self._rng = rng_for(population.seed, f"held by {agency}")
        self._habits = HABITS[agency]
        self._records = RecordMaker(rng_for(population.seed, f"records {agency}"), agency, population.as_of)

    def hold(self, person: Person, subject_id: str) -> HeldSubject:
        rng, habits = self._rng, self._habits
        chance = rng.random
        family, other_names = self._names(person)
        given, alias = self._given(person)
        if alias:
            other_names = (*other_names, HeldName(alias, family, "alias"))
        address, former = self._addresses(person)
        return HeldSubject(
            subject_id=subject_id,
            given=self._written(given),
            middle=self._written(person.middle) if person.middle and chance() < habits.middle_name else "",
            family=self._written(family),
            born=self._born(person.born),
            sex=person.sex if chance() < 0.985 else "",
            nhs_number=person.nhs_number if chance() < habits.nhs_number else "",
            phone=person.phone if chance() < habits.phone else "",
            email=person.email if chance() < habits.email else "",
            consent=self._consent(),
            address=address,
            other_names=other_names,
            former_addresses=former,
            records=self._records.for_subject(subject_id, person.born, address),
            markers=(SAFE_ADDRESS,) if address and chance() < habits.safe_address else (),
        )

    def _names(self, person: Person) -> tuple[str, tuple[HeldName, ...]]:
        """The family name on file, and the other one where the agency knows of it."""
        if not person.former_family:
            return person.family, ()
        if self._rng.random() < self._habits.old_name:
            return person.former_family, ()
        if self._rng.random() < self._habits.knows_former_name:
            return person.family, (HeldName(person.given, person.former_family, "former"),)
        return person.family, ()

    def _given(self, person: Person) -> tuple[str, str]:
        """The given name on file, and an alias or empty text."""
        short = nicknames().get(person.given)
        if short is None:
            return person.given, ""
        roll = self._rng.random()
        if roll < self._habits.nickname:
            return short[int(self._rng.random() * len(short))], ""
        return person.given, short[0] if roll < 2 * self._habits.nickname else ""

    def _written(self, name: str) -> str:
        habits, rng = self._habits, self._rng
        if rng.random() < habits.name_slip:
            name = name_slip(rng, name)
        return plain_letters(name) if not name.isascii() and rng.random() < habits.plain_letters else name

    def _born(self, born: date) -> str:
        roll = self._rng.random()
        if roll < self._habits.no_date:
            return ""
        if roll < self._habits.no_date + self._habits.date_slip:
            return date_slip(self._rng, born).isoformat()
        return born.isoformat()

    def _addresses(self, person: Person) -> tuple[HeldAddress | None, tuple[HeldAddress, ...]]:
        """The address on file, by chance one that the person has left, and those known before it."""
        habits, rng = self._habits, self._rng
        if rng.random() >= habits.address:
            return None, ()
        last = len(person.residences) - 1
        if last and rng.random() < habits.old_address:
            last = int(rng.random() * last)
        former = tuple(
            exactly(home.address)
            for home in person.residences[:last][::-1]
            if rng.random() < habits.knows_former_address
        )
        return self._address(person.residences[last].address), former

    def _address(self, home: Address) -> HeldAddress:
        rng, habits = self._rng, self._habits
        roll = rng.random()
        written = exactly(home)
        if roll < habits.postcode_slip:
            district, _, unit = home.postcode.partition(" ")
            return replace(written, postcode=f"{district} {unit[0]}{unit[2]}{unit[1]}", uprn="")
        if roll < 2 * habits.postcode_slip:
            return replace(written, postcode="", uprn="")
        if roll < 2.5 * habits.postcode_slip:
            return replace(written, house=digit_slip(rng, home.house), uprn="")
        if roll < 3.5 * habits.postcode_slip:
            return replace(written, street=name_slip(rng, home.street), uprn="")
        return written if rng.random() < 0.6 else replace(written, uprn="")

    def _consent(self) -> Consent:
        roll = self._rng.random()
        if roll < self._habits.consent_given:
            return "given"
        return "refused" if roll < self._habits.consent_given * 1.15 else "not_recorded"
