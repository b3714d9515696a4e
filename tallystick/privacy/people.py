"""Whom the attacks are tried on: synthetic people (or places), normalised as a node would.

The attacker's public list holds exactly what the agency holds. That is the worst case: a real list is older
and has other mistakes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agency_node.encoding import EncodingSection
from agency_node.normalise import NormaliseRules, joined_address, normalise_field, read_name
from agency_node.subjects import SubjectType
from tallystick.population import NORTHMOOR_POLICE, VALE_NHS, AgencyId, Population, generate
from tallystick.population.model import Address, HeldAddress
from tallystick.population.views import held_subjects, subject_ids

Fields = Mapping[str, str]
_RULES: Final = NormaliseRules()
_PEOPLE_PER_AGENCY: Final = 0.5
_NAMES: Final = frozenset({"given_names", "family_name"})


@dataclass(frozen=True, slots=True)
class Records:
    """Normalised current identities, one per subject, all different. The repr shows none of them.

    :param source: for people: where they come from.
    """

    rows: tuple[Fields, ...] = field(repr=False)
    source: str

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Views:
    """Two agencies' records of overlapping subjects; equal truth numbers are the same subject."""

    left: tuple[Fields, ...] = field(repr=False)
    left_truth: tuple[int, ...] = field(repr=False)
    right: tuple[Fields, ...] = field(repr=False)
    right_truth: tuple[int, ...] = field(repr=False)


def subject_type_of(section: EncodingSection) -> SubjectType:
    """Whether a section encodes people or places: a section with a name in it is about people."""
    used = {name for projection in section.projections for name in projection.hashed_fields}
    return "person" if used & _NAMES else "place"


def synthetic_records(subject_type: SubjectType, wanted: int, seed: int) -> Records:
    """``wanted`` synthetic subjects as they truly are, in random order."""
    population = _population(subject_type, wanted, seed)
    people = list(population.people.values())
    if subject_type == "place":
        homes = {person.home.key: person.home for person in people}
        rows = [address_fields(home) for home in homes.values()]
    else:
        rows = [
            {
                **person_fields(
                    f"{person.given} {person.middle}", person.family, person.born.isoformat(), person.sex
                ),
                **address_fields(person.home),
                "nhs_number": person.nhs_number,
            }
            for person in people
        ]
    return records(rows, wanted, seed, f"synthetic {subject_type} records, seed {seed}")


def records(rows: Sequence[Fields], wanted: int, seed: int, source: str) -> Records:
    """At most ``wanted`` distinct rows in random order."""
    distinct = list({tuple(sorted(row.items())): row for row in rows}.values())
    random.Random(f"privacy order {seed}").shuffle(distinct)  # noqa: S311 - sampling, no secret
    return Records(tuple(distinct[:wanted]), source)


def synthetic_views(subject_type: SubjectType, per_agency: int, seed: int) -> Views:
    """What two agencies wrote down, with their mistakes: for the accuracy that hardening costs."""
    population = generate(per_agency, seed + 1)
    left, left_truth = _view(population, NORTHMOOR_POLICE, subject_type)
    right, right_truth = _view(population, VALE_NHS, subject_type)
    return Views(left, left_truth, right, right_truth)


def person_fields(given: str, family: str, born: str, sex: str) -> dict[str, str]:
    """Normalised name, birth and sex; missing ones absent. ``born`` is ISO text or empty."""
    name = read_name(given, family)
    fields = {
        "given_names": name.given.value,
        "family_name": name.family.value,
        "sex": normalise_field("sex", sex, _RULES).value if sex else "",
    }
    if born:
        fields |= {"date_of_birth": born, "birth_year": born[:4], "birth_day_month": born[5:]}
    return {key: value for key, value in fields.items() if value}


def address_fields(address: Address | HeldAddress) -> dict[str, str]:
    """A normalised address; missing parts absent."""
    fields = {
        name: normalise_field(name, text, _RULES).value
        for name in ("house", "street", "town", "postcode", "uprn")
        if (text := str(getattr(address, name)))
    }
    fields["address"] = joined_address(fields.get("house", ""), fields.get("street", ""))
    return {key: value for key, value in fields.items() if value}


def _population(subject_type: SubjectType, wanted: int, seed: int) -> Population:
    """A population with at least ``wanted`` subjects."""
    per_agency = max(40, round(wanted * _PEOPLE_PER_AGENCY))
    while True:
        population = generate(per_agency, seed)
        people = population.people.values()
        found = len(people) if subject_type == "person" else len({person.home.key for person in people})
        if found >= wanted:
            return population
        per_agency = round(per_agency * max(1.2, 1.1 * wanted / found))


def _view(
    population: Population, agency: AgencyId, subject_type: SubjectType
) -> tuple[tuple[Fields, ...], tuple[int, ...]]:
    rows: list[Fields] = []
    truth: list[int] = []
    seen: set[int] = set()
    for (person_id, _), held in zip(
        subject_ids(population, agency), held_subjects(population, agency), strict=True
    ):
        address = address_fields(held.address) if held.address else {}
        if subject_type == "person":
            given = f"{held.given} {held.middle}"
            rows.append({**person_fields(given, held.family, held.born, held.sex), **address})
            truth.append(int(person_id))
        elif held.address and held.address.key not in seen:
            seen.add(held.address.key)
            rows.append(address)
            truth.append(held.address.key)
    return tuple(rows), tuple(truth)
