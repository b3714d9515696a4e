"""The population as a whole: repeatable, of the size asked for, overlapping and plausible."""

import re
from collections import Counter, defaultdict
from datetime import timedelta
from functools import cache

import pytest

from tallystick.population import AGENCIES, ALAN, AS_OF, STORY, SUSAN, Population, PopulationError, generate
from tallystick.population.geography import town_named
from tallystick.population.identifiers import nhs_check_digit
from tallystick.population.model import Person
from tallystick.population.story import story_addresses, story_people
from tallystick.population.views import held_subjects

PEOPLE = 800
POSTCODE = re.compile(r"(NM|SV)(\d|10) \d[ABD-HJLNP-UW-Z]{2}")


@cache
def population() -> Population:
    return generate(PEOPLE, 11)


def households() -> dict[int, list[Person]]:
    found: dict[int, list[Person]] = defaultdict(list)
    for person in population().people.values():
        if person.household:
            found[person.household].append(person)
    return found


def test_every_agency_holds_as_many_as_asked_for_and_nobody_twice() -> None:
    for agency in AGENCIES:
        held = population().held[agency]
        assert len(held) == PEOPLE
        assert len(set(held)) == PEOPLE


def test_about_a_quarter_of_each_agency_is_held_elsewhere_too() -> None:
    holders = Counter(person for held in population().held.values() for person in held)
    for agency in AGENCIES:
        shared = sum(holders[person] > 1 for person in population().held[agency]) / PEOPLE
        assert 0.20 <= shared <= 0.30
    counts = Counter(holders.values())
    assert counts[2] > counts[3] > counts[4] > counts[5] > 0


@pytest.mark.parametrize("people", [0, 19, 200_001])
def test_sizes_that_cannot_be_made_are_refused(people: int) -> None:
    with pytest.raises(PopulationError, match="choose between 20 and 200,000"):
        generate(people, 1)


def test_the_smallest_population_has_the_story_too() -> None:
    small = generate(20, 1)
    assert all(SUSAN in small.held[agency] and len(small.held[agency]) == 20 for agency in AGENCIES)


def test_seeds_differ() -> None:
    ours, other = population(), generate(PEOPLE, 12)
    assert ours.people[SUSAN] == other.people[SUSAN]
    assert [p.family for p in ours.people.values()] != [p.family for p in other.people.values()]


def test_identifiers_are_in_ranges_that_belong_to_nobody() -> None:
    numbers: set[str] = set()
    for person in population().people.values():
        assert person.nhs_number.startswith("999")
        assert nhs_check_digit(person.nhs_number[:9]) == int(person.nhs_number[9])
        assert re.fullmatch(r"(07700 900|01632 960)\d{3}|", person.phone)
        assert person.email == "" or person.email.endswith("@example.org")
        assert person.email.isascii()
        numbers.add(person.nhs_number)
        for residence in person.residences:
            assert POSTCODE.fullmatch(residence.address.postcode)
            assert re.fullmatch(r"999\d{9}", residence.address.uprn)
    assert len(numbers) == len(population().people)


def test_postcodes_match_their_towns() -> None:
    for person in population().people.values():
        address = person.home
        town = town_named(address.town)
        assert address.postcode.split()[0] == town.district
        assert address.area == town.area


def test_households_are_plausible() -> None:
    sizes = Counter(len(people) for people in households().values())
    assert 1.8 < sum(size * n for size, n in sizes.items()) / sum(sizes.values()) < 3.0
    assert max(sizes) <= 7
    for people in households().values():
        assert len({person.home.key for person in people}) == 1
        assert all(person.born <= AS_OF for person in people)
        assert any((AS_OF - person.born).days > 18 * 365 for person in people)


def test_awkward_families_exist() -> None:
    twins = namesakes = married = 0
    for people in households().values():
        births = Counter(person.born for person in people)
        twins += any(n > 1 for n in births.values())
        full_names = Counter((person.given, person.family) for person in people)
        namesakes += any(n > 1 for n in full_names.values())
        married += sum(bool(person.former_family) for person in people)
    assert twins > 3
    assert namesakes > 3
    assert married > 200


def test_people_move_within_ten_years_and_across_the_boundary() -> None:
    people = population().people.values()
    moved = [p for p in people if len(p.residences) > 1]
    crossed = [p for p in moved if len({home.address.area for home in p.residences}) == 2]
    assert 0.3 < len(moved) / len(people) < 0.7
    assert 0.1 < len(crossed) / len(people) < 0.35
    for person in moved:
        for before, after in zip(person.residences, person.residences[1:], strict=False):
            assert before.until == after.since
            assert before.since < after.since
        assert person.residences[-1].until is None


def test_agencies_err_and_leave_gaps_but_never_invent_people() -> None:
    for agency in AGENCIES:
        differing = missing = 0
        for person_id, subject in zip(
            population().held[agency], held_subjects(population(), agency), strict=True
        ):
            person = population().people[person_id]
            assert subject.nhs_number in ("", person.nhs_number)
            differing += subject.given != person.given or subject.family != person.family
            missing += not subject.born or subject.address is None
            assert all(person.born <= record.occurred <= AS_OF for record in subject.records)
        assert 0.02 < differing / PEOPLE < 0.6
        assert missing > 0


def test_representations_show_nobody() -> None:
    person = population().people[SUSAN]
    subject = next(held_subjects(population(), AGENCIES[0]))
    texts = [
        repr(value)
        for value in (population(), person, person.residences[0], person.home, subject, subject.address)
    ]
    texts += [repr(record) for record in subject.records] + [repr(event) for event in STORY.timeline]
    for text in texts:
        for secret in (person.family, person.nhs_number, person.home.postcode, subject.family, "Orchard"):
            assert secret not in text


def test_the_story_moves_with_the_day_of_the_picture() -> None:
    later = AS_OF + timedelta(days=100)
    now, then = story_people(later)[0], story_people()[0]
    assert now.born == then.born
    assert now.residences[-1].since - then.residences[-1].since == timedelta(days=100)


def test_nobody_else_lives_where_the_story_takes_place() -> None:
    keys = {address.key for address in story_addresses().values()}
    places = {(address.house, address.street, address.town) for address in story_addresses().values()}
    for person in population().people.values():
        if person.person_id in (SUSAN, ALAN):
            continue
        for home in person.residences:
            address = home.address
            assert address.key not in keys
            assert (address.house, address.street, address.town) not in places
