"""Makes a population: people, households, and who is held by which agency.

Everything follows from the seed. Each step draws from its own generator, seeded by the seed and the step's
name, so that a change to one step leaves the others as they were.
"""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Final

from tallystick.population.geography import Gazetteer
from tallystick.population.households import HouseholdMaker
from tallystick.population.identifiers import nhs_numbers
from tallystick.population.membership import Membership, home_area, memberships
from tallystick.population.model import (
    AGENCIES,
    AS_OF,
    AgencyId,
    Person,
    PersonId,
    Population,
    PopulationError,
)
from tallystick.population.story import STORY, STORY_NHS_NUMBERS, story_people

LEAST_PEOPLE: Final = 20
MOST_PEOPLE: Final = 200_000


def rng_for(seed: int, step: str) -> Random:
    """The generator of one step. Not for secrets."""
    return Random(f"tallystick population {seed} {step}")  # noqa: S311 - repeatable test data, nothing secret


def generate(people: int, seed: int, *, as_of: date = AS_OF) -> Population:
    """A population in which each agency holds ``people`` subjects, Susan and Alan among them.

    ``as_of`` is the day of the picture: ages, moves and records are counted back from it. Raises
    PopulationError for fewer than 20 or more than 200,000 people per agency (the NHS test range holds no
    more).
    """
    if not LEAST_PEOPLE <= people <= MOST_PEOPLE:
        raise PopulationError(
            f"{people:,} people per agency: choose between {LEAST_PEOPLE} and {MOST_PEOPLE:,}."
        )
    story = story_people(as_of)
    background = memberships(rng_for(seed, "memberships"), people)
    members = _people(seed, as_of, background, first=len(story) + 1)
    held: dict[AgencyId, list[PersonId]] = {agency: [] for agency in AGENCIES}
    for person, membership in zip(members, background, strict=True):
        for agency in sorted(membership):
            held[agency].append(person.person_id)
    for agency in AGENCIES:
        _seat_story(rng_for(seed, f"order {agency}"), held[agency], agency)
    return Population(
        seed=seed,
        as_of=as_of,
        people={person.person_id: person for person in (*story, *members)},
        held={agency: tuple(ids) for agency, ids in held.items()},
    )


def _people(seed: int, as_of: date, background: list[Membership], first: int) -> list[Person]:
    """One person for each membership; the home area of a household follows from its first member's."""
    rng = rng_for(seed, "people")
    numbers = (number for number in nhs_numbers(rng.randrange(1_000_000)) if number not in STORY_NHS_NUMBERS)
    maker = HouseholdMaker(rng, Gazetteer(rng_for(seed, "places")), numbers, as_of, first)
    made: list[Person] = []
    while len(made) < len(background):
        made.extend(maker.make(home_area(rng, background[len(made)])))
    return made[: len(background)]


def _seat_story(rng: Random, ids: list[PersonId], agency: AgencyId) -> None:
    """Puts the agency's own numbering in no order of households, and the story's people into it.

    They take the places of as many others, so that the agency's number of subjects stays as asked for.
    """
    rng.shuffle(ids)
    known = [person for person, subjects in STORY.subjects.items() if agency in subjects]
    del ids[len(ids) - len(known) :]
    for person in known:
        ids.insert(rng.randrange(len(ids) + 1), person)
