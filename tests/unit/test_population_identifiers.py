"""Identifiers are valid in form and cannot belong to anybody; slips change what they should and no more."""

from datetime import date
from itertools import islice
from random import Random

import pytest

from tallystick.population.identifiers import email_address, nhs_check_digit, nhs_numbers, phone_number
from tallystick.population.lexicon import ORIGIN_SHARES, family_name, names, nicknames
from tallystick.population.model import PopulationError
from tallystick.population.slips import date_slip, day_month_swapped, name_slip, plain_letters


@pytest.mark.parametrize(
    ("nine", "check"),
    [("943476591", 9), ("401023213", 7), ("999999999", 9)],
)
def test_nhs_check_digit_agrees_with_published_examples(nine: str, check: int) -> None:
    assert nhs_check_digit(nine) == check


def test_a_check_digit_of_ten_is_not_used() -> None:
    unused = [nine for nine in (f"999{n:06d}" for n in range(200)) if nhs_check_digit(nine) is None]
    assert unused
    for nine in unused:
        assert sum(int(d) * w for d, w in zip(nine, range(10, 1, -1), strict=True)) % 11 == 1


def test_nhs_numbers_are_distinct_and_in_the_test_range() -> None:
    numbers = list(islice(nhs_numbers(4711), 5000))
    assert len(set(numbers)) == 5000
    assert all(number.startswith("999") and len(number) == 10 for number in numbers)


def test_nhs_numbers_run_out_with_an_error_not_with_repeats() -> None:
    seen = 0
    with pytest.raises(PopulationError, match="fewer people"):
        for _ in nhs_numbers(0):
            seen += 1
    assert 900_000 < seen < 1_000_000


def test_phone_numbers_are_in_the_drama_ranges() -> None:
    rng = Random(1)
    numbers = {phone_number(rng) for _ in range(3000)}
    assert {number[:9] for number in numbers} == {"07700 900", "01632 960"}
    assert all(len(number) == 12 and number[9:].isdigit() for number in numbers)


def test_email_addresses_are_ascii_at_example_org() -> None:
    assert email_address("Siobhán", "O'Brien", 1207) == "siobhan.obrien07@example.org"


@pytest.mark.parametrize("origin", ORIGIN_SHARES)
def test_name_lists_are_long_enough_and_clean(origin: str) -> None:
    lists = names(origin)
    for words, least in ((lists.family, 40), (lists.female, 30), (lists.male, 30)):
        assert len(words.values) >= least
        assert len(set(words.values)) == len(words.values)
        assert all(word[0].isupper() and word == word.strip() for word in words.values)


def test_british_surnames_number_several_hundred() -> None:
    assert len(names("british").family.values) >= 300


def test_common_names_are_common_and_the_tail_is_long() -> None:
    rng = Random(3)
    drawn = [names("british").family.draw(rng) for _ in range(20_000)]
    assert 0.01 < drawn.count("Smith") / 20_000 < 0.05
    assert len(set(drawn)) > 300


def test_nicknames_know_susan() -> None:
    assert nicknames()["Susan"][:2] == ("Sue", "Susie")


def test_polish_family_names_take_their_bearers_form() -> None:
    assert family_name("polish", "Kowalski", "F") == "Kowalska"
    assert family_name("polish", "Kowalski", "M") == "Kowalski"
    assert family_name("british", "Kowalski", "F") == "Kowalski"


def test_name_slips_keep_the_first_letter_and_mostly_change_something() -> None:
    rng = Random(5)
    slipped = [name_slip(rng, "Catherine") for _ in range(500)]
    assert all(name[0] == "C" and abs(len(name) - 9) <= 2 for name in slipped)
    assert sum(name != "Catherine" for name in slipped) > 450
    assert name_slip(rng, "Li") == "Li"


def test_plain_letters_drops_accents_and_apostrophes() -> None:
    assert plain_letters("Łukasz O'Néill") == "Lukasz ONeill"


def test_day_and_month_swap_only_where_that_is_a_date() -> None:
    assert day_month_swapped(date(1986, 4, 7)) == date(1986, 7, 4)
    assert day_month_swapped(date(1986, 4, 17)) == date(1986, 4, 17)


def test_date_slips_are_dates_in_the_past() -> None:
    rng = Random(9)
    for born in (date(2000, 2, 29), date(1931, 12, 31), date(2024, 1, 30), date(1961, 10, 12)):
        for _ in range(200):
            assert date(1900, 12, 31) < date_slip(rng, born) < date(2027, 1, 1)
