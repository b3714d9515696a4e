"""Decoys: made of own subjects, nobody among them, the same every time."""

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency_node.encoding import EncodingKeys, default_section
from agency_node.encoding.decoys import decoy_rng, make_decoys
from agency_node.encoding.errors import DecoyError
from agency_node.subjects import Identity, Subject, SubjectId

GROUPS = (
    ("given_names", "sex"),
    ("family_name",),
    ("date_of_birth", "birth_year", "birth_day_month"),
    ("house", "street", "address", "postcode"),
)


def person(number: int) -> Subject:
    year, day = 1950 + number % 60, 1 + number % 28
    fields = {
        "given_names": f"NAME{number}",
        "sex": "FM"[number % 2],
        "family_name": f"FAMILY{number}",
        "date_of_birth": f"{year}-03-{day:02}",
        "birth_year": str(year),
        "birth_day_month": f"03-{day:02}",
        "house": str(number),
        "street": f"ROAD{number}",
        "address": f"{number} ROAD{number}",
        "postcode": f"LS{number}AA",
        "nhs_number": f"{number:010}",
    }
    return Subject(SubjectId(str(number)), "person", (Identity(fields),))


def place(number: int) -> Subject:
    fields = {
        "house": str(number),
        "street": f"ROAD{number}",
        "address": f"{number} ROAD{number}",
        "postcode": f"LS{number}AA",
        "uprn": f"{number:012}",
    }
    return Subject(SubjectId(str(number)), "place", (Identity(fields),))


PEOPLE = [person(number) for number in range(30)]


def group(fields: Mapping[str, str], names: tuple[str, ...]) -> tuple[str | None, ...]:
    return tuple(fields.get(name) for name in names)


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_recombined_decoys_take_each_group_from_another_subject(seed: int) -> None:
    owner = {
        group(subject.identities[0].fields, names): number
        for number, subject in enumerate(PEOPLE)
        for names in GROUPS
    }
    for decoy in make_decoys(PEOPLE, 10, random.Random(seed)):
        donors = [owner[group(decoy.identities[0].fields, names)] for names in GROUPS]
        assert len(set(donors)) == len(GROUPS)


def test_sibling_decoys_share_a_household_and_a_birth_year() -> None:
    by_family = {subject.identities[0].fields["family_name"]: subject for subject in PEOPLE}
    for decoy in make_decoys(PEOPLE, 50, random.Random(1), sibling_share=1):
        fields = decoy.identities[0].fields
        head = by_family[fields["family_name"]].identities[0].fields
        assert fields["address"] == head["address"]
        assert fields["birth_year"] == head["birth_year"] == fields["date_of_birth"][:4]
        assert fields["date_of_birth"][5:] == fields["birth_day_month"]
        assert fields["given_names"] != head["given_names"]


def test_the_mixture_is_a_dial() -> None:
    family_address = {
        (p.identities[0].fields["family_name"], p.identities[0].fields["address"]) for p in PEOPLE
    }
    decoys = make_decoys(PEOPLE, 400, random.Random(1), sibling_share=0.25)
    siblings = sum(
        (one.identities[0].fields["family_name"], one.identities[0].fields["address"]) in family_address
        for one in decoys
    )
    assert 60 < siblings < 140


def test_a_sibling_is_never_born_on_a_day_that_did_not_exist() -> None:
    leap = Identity(
        dict(PEOPLE[0].identities[0].fields) | {"date_of_birth": "2000-02-29", "birth_day_month": "02-29"}
    )
    people = [Subject(SubjectId(str(n)), "person", (leap,)) for n in range(3)] + PEOPLE[1:3]
    born = {d.identities[0].fields["date_of_birth"] for d in make_decoys(people, 60, random.Random(2), 1)}
    assert "1951-02-28" in born
    assert not any(day.endswith("02-29") and day != "2000-02-29" for day in born)


def test_numbers_are_scrambled_in_form_not_copied() -> None:
    own = {subject.identities[0].fields["nhs_number"] for subject in PEOPLE}
    numbers = [
        decoy.identities[0].fields["nhs_number"] for decoy in make_decoys(PEOPLE, 40, random.Random(1))
    ]
    assert all(len(number) == 10 and number.isdigit() for number in numbers)
    assert not own & set(numbers)


def test_decoys_are_the_same_in_every_run_and_differ_by_agency_and_epoch() -> None:
    section = default_section("person")
    keys = [EncodingKeys.derive(bytes(32), "harm", epoch, section) for epoch in (1, 1, 2)]
    runs = [
        [decoy.identities[0].fields for decoy in make_decoys(PEOPLE, 20, decoy_rng(key, agency))]
        for key, agency in ((keys[0], "police"), (keys[1], "police"), (keys[0], "care"), (keys[2], "police"))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0] != runs[3]


def test_place_decoys_have_addresses_that_fit_together() -> None:
    places = [place(number) for number in range(10)]
    own = {subject.identities[0].fields["address"] for subject in places}
    for decoy in make_decoys(places, 20, random.Random(1)):
        fields = decoy.identities[0].fields
        assert fields["address"] == f"{fields['house']} {fields['street']}"
        assert fields["address"] not in own


def test_missing_fields_stay_missing() -> None:
    bare = [
        Subject(SubjectId(str(n)), "person", (Identity({"given_names": f"A{n}", "family_name": f"B{n}"}),))
        for n in range(6)
    ]
    for decoy in make_decoys(bare, 10, random.Random(1)):
        assert set(decoy.identities[0].fields) == {"given_names", "family_name"}


def test_too_few_or_too_similar_subjects_are_refused() -> None:
    with pytest.raises(DecoyError, match="at least 5"):
        make_decoys(PEOPLE[:4], 1, random.Random(1))
    with pytest.raises(DecoyError, match="alike"):
        make_decoys([PEOPLE[0]] * 6, 1, random.Random(1))
    with pytest.raises(DecoyError, match="between 0 and 1"):
        make_decoys(PEOPLE, 1, random.Random(1), sibling_share=1.5)
    with pytest.raises(DecoyError, match="persons"):
        make_decoys([place(n) for n in range(6)], 1, random.Random(1), sibling_share=0.5)
