"""Identity evidence: who passes for whom, over all identities, bound to one request."""

import pytest

from agency_node.encoding.identity import (
    PERSON_FIELDS,
    PROOF_BYTES,
    person_evidence,
    place_evidence,
    same_person,
    same_place,
)
from agency_node.subjects import Identity

KEY = bytes(range(32))


def person(given: str = "", family: str = "", born: str = "", **others: str) -> Identity:
    year, _, day_month = born.partition("-")
    fields = {
        "given_names": given,
        "family_name": family,
        "birth_year": year,
        "birth_day_month": day_month,
        **others,
    }
    return Identity({name: value for name, value in fields.items() if value})


SUSAN = person("SUSAN", "OBRIEN", "1980-03-14", postcode="LS11AA", nhs_number="9434765919", sex="F")


def passes(asked: Identity, *held: Identity) -> bool:
    return same_person(person_evidence(asked, KEY, "r1"), held, KEY, "r1")


def test_evidence_covers_the_fields_that_are_there_and_nothing_that_says_where_she_lives() -> None:
    evidence = person_evidence(SUSAN, KEY, "r1")
    assert set(evidence) == set(PERSON_FIELDS)
    assert {field: len(value) // PROOF_BYTES for field, value in evidence.items()} == {
        "given_names": 6,
        "initial": 1,
        "family_name": 7,
        "date_of_birth": 3,
        "nhs_number": 1,
    }
    moved = Identity({**SUSAN.fields, "postcode": "YO17HH", "phone": "+447700900123", "address": "1 A ROAD"})
    assert person_evidence(moved, KEY, "r1") == evidence


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(person("SUSAN", "OBRIEN", "1980-03-14"), id="all the same"),
        pytest.param(
            person("SUSAN MARGARET", "OBRIEN", "1980-14-03"), id="a second name, day and month swapped"
        ),
        pytest.param(person("SUSANN", "OBRYEN", "1980-03-15"), id="slips in every field"),
        pytest.param(person("SUE", "OBRIEN", "1980-03-14"), id="a short name"),
        pytest.param(person("SUSAN", "SMITH", "1980-03-14"), id="another surname"),
        pytest.param(person("SYLVIA", "SMITH", "1980-03-14"), id="only the initial and the date of birth"),
        pytest.param(person("SUSAN", "OBRIEN", "1980"), id="nothing but the year is known"),
        pytest.param(person("TANYA", "OBRIEN", nhs_number="9434765919"), id="NHS number and surname"),
    ],
)
def test_slips_and_changes_do_not_hide_the_same_person(asked: Identity) -> None:
    assert passes(asked, SUSAN)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(person("ALAN", "OBRIEN", "1978-11-02", postcode="LS11AA"), id="her spouse"),
        pytest.param(person("GRACE", "OBRIEN", "1980-03-14"), id="her twin"),
        pytest.param(person("SUSAN", "OBRIEN"), id="her name alone"),
        pytest.param(person("SUSAN", "OBRIEN", "1951-09-30"), id="her name and another date of birth"),
        pytest.param(person("SUSAN", "OBRIEN", "1981"), id="her name and another year"),
        pytest.param(person("", "OBRIEN", "1980-03-14", postcode="LS11AA"), id="surname, birth and address"),
        pytest.param(person("", "", "", nhs_number="9434765919"), id="an NHS number and nothing else"),
        pytest.param(Identity({}), id="nothing"),
    ],
)
def test_nobody_else_passes_for_her(asked: Identity) -> None:
    assert not passes(asked, SUSAN)


def test_a_former_name_counts() -> None:
    asked = person("SUSAN", "HALL", "1980-03-99")
    assert not passes(asked, SUSAN)
    assert passes(asked, SUSAN, person("SUSAN", "HALL", "1980-03-14"))
    assert not passes(asked)


def test_trying_many_values_at_once_counts_for_nothing() -> None:
    dates = [
        person("", "", f"{year}-{month:02}-{day:02}")
        for year in (1979, 1980)
        for month in (3, 4)
        for day in (13, 14)
    ]
    tried = b"".join(person_evidence(item, KEY, "r1")["date_of_birth"] for item in dates)
    evidence = {**person_evidence(person("SUSAN", "OBRIEN"), KEY, "r1"), "date_of_birth": tried}
    assert not same_person(evidence, [SUSAN], KEY, "r1")
    initials = b"".join(person_evidence(person(letter), KEY, "r1")["initial"] for letter in "ABCRSTXYZ")
    evidence = {**person_evidence(person("", "", "1980-03-14"), KEY, "r1"), "initial": initials}
    assert not same_person(evidence, [SUSAN], KEY, "r1")


def test_evidence_is_bound_to_request_key_and_field() -> None:
    evidence = person_evidence(SUSAN, KEY, "r1")
    assert same_person(evidence, [SUSAN], KEY, "r1")
    assert not same_person(evidence, [SUSAN], KEY, "r2")
    assert not same_person(evidence, [SUSAN], bytes(32), "r1")
    twice = person_evidence(person("LEE", "LEE"), KEY, "r1")
    assert twice["given_names"] != twice["family_name"]


def test_a_birthday_on_the_fourth_of_april_has_three_parts() -> None:
    assert len(person_evidence(person("", "", "1980-04-04"), KEY, "r1")["date_of_birth"]) == 3 * PROOF_BYTES


HERE = {"uprn": "100", "house": "14", "street": "HIGH STREET", "town": "LEEDS", "postcode": "LS11AA"}


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        (HERE, True),
        ({"uprn": "100"}, True),
        ({"house": "14", "postcode": "LS11AA"}, True),
        ({"house": "14", "street": "HIGH STREET", "town": "LEEDS"}, True),
        ({**HERE, "uprn": "101", "house": "16"}, False),
        ({"house": "14", "street": "HIGH STREET"}, False),
        ({"house": "14", "street": "HIGH STREET", "town": "YORK", "postcode": "YO17HH"}, False),
        ({}, False),
    ],
)
def test_a_place_is_its_uprn_or_its_house_and_where_that_is(asked: dict[str, str], same: bool) -> None:
    evidence = place_evidence(Identity(asked), KEY, "r1")
    assert same_place(evidence, [Identity(HERE)], KEY, "r1") is same
    assert not same_place(evidence, [Identity(HERE)], KEY, "r2")
