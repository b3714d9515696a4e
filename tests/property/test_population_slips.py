"""Whatever the seed: slips leave names that are names, dates that are dates, postcodes of the valid form."""

import re
from datetime import date
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tallystick.population.geography import postcode
from tallystick.population.slips import date_slip, digit_slip, name_slip

seeds = st.integers(0, 2**32)
name_texts = st.text("abcdefghijklmnopqrstuvwxyz'- łéö", max_size=20).map(str.capitalize)


@given(seeds, name_texts)
def test_a_name_slip_is_one_slip(seed: int, name: str) -> None:
    slipped = name_slip(Random(seed), name)
    assert abs(len(slipped) - len(name)) <= 1
    assert slipped[:1] == name[:1]


@given(seeds, st.dates(date(1905, 1, 1), date(2026, 10, 31)))
def test_a_date_slip_keeps_within_living_memory(seed: int, born: date) -> None:
    assert 1900 < date_slip(Random(seed), born).year <= 2026


@given(seeds, st.text("0123456789 ,", max_size=8))
def test_a_digit_slip_moves_characters_and_loses_none(seed: int, number: str) -> None:
    assert sorted(digit_slip(Random(seed), number)) == sorted(number)


@given(st.sampled_from(["NM1", "NM10", "SV7"]), st.integers(0, 615), st.integers(1, 250))
def test_postcodes_have_the_valid_form(district: str, street: int, house: int) -> None:
    assert re.fullmatch(rf"{district} \d[ABD-HJLNP-UW-Z]{{2}}", postcode(district, street, house))
    assert postcode(district, street, house) != postcode(district, street, house + 20)
