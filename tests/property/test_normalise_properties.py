"""Every normaliser is total and idempotent, whatever the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agency_node.normalise import (
    EXPLANATIONS,
    NORMALISERS,
    DateRule,
    NormaliseRules,
    Reason,
    normalise_field,
    read_address,
    read_date,
    read_date_parts,
    read_full_name,
    read_name,
)

_FRAGMENTS = st.sampled_from(
    [
        "nee",
        "née",
        "aka",
        "a.k.a.",
        "A/K/A",
        "formerly",
        "(",
        ")",
        '"',
        "/",
        ",",
        "-",
        "'",
        "’",
        ".",
        ";",
        ":",
        "Mr",
        "Mrs",
        "Dr",
        "Jr",
        "III",
        "OBE",
        "van",
        "der",
        "de",
        "la",
        "O'",
        "Mc",
        "Mac",
        "St",
        "St.",
        "Saint",
        "Smith",
        "SMITH-JONES",
        "Baby",
        "Boy",
        "unknown",
        "N/A",
        "Flat",
        "flt",
        "Apt",
        "2",
        "14",
        "14B",
        "1.0",
        "Rd",
        "Street",
        "Ave",
        "High",
        "No.",
        "North",
        "N",
        "ZZ99",
        "3VZ",
        "SW1A",
        "1AA",
        "OAA",
        "NFA",
        "3",
        "03",
        "12",
        "25",
        "1980",
        "80",
        "00",
        "Mar",
        "19800303",
        "29283",
        "?",
        "XX",
        "943",
        "476",
        "5919",
        "999",
        "07700",
        "900123",
        "+44",
        "ext",
        "0",
        "1",
        "E+09",
        "a@b.co",
        "<a@b.co>",
        "none@none",
        "M",
        "male",
        "1.0",
        "Łukasz",
        "Müller",
        "Ахмед",
        "陈",
        "ß",
        "İ",
        "ẞ",
    ]
)
_TEXT = st.one_of(
    st.text(max_size=40),
    st.lists(_FRAGMENTS, max_size=7).map(" ".join),
    st.lists(_FRAGMENTS, max_size=7).map("".join),
)
_RULES = st.builds(
    NormaliseRules,
    dates=st.builds(
        DateRule,
        order=st.sampled_from(["dmy", "mdy"]),
        first_of_january=st.sampled_from(["missing", "keep"]),
    ),
    postcodes=st.sampled_from(["uk", "any"]),
)


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@settings(max_examples=300, deadline=None)
@given(text=_TEXT, rules=_RULES)
def test_normalising_twice_is_normalising_once(name: str, text: str, rules: NormaliseRules) -> None:
    once = normalise_field(name, text, rules)
    again = normalise_field(name, once.value, rules)
    assert again.value == once.value
    assert once.value.isascii()
    assert once.value == once.value.strip()


@pytest.mark.parametrize("name", sorted(NORMALISERS))
@settings(max_examples=200, deadline=None)
@given(text=_TEXT)
@example(text="18900102")
def test_a_value_is_lost_only_with_a_reason(name: str, text: str) -> None:
    outcome = normalise_field(name, text, NormaliseRules())
    if not outcome.value and text.strip():
        assert outcome.reasons
    if outcome.value and outcome.value != text:
        assert outcome.reasons
    assert outcome.value not in repr(outcome) or len(outcome.value) < 6


@settings(max_examples=300, deadline=None)
@given(text=_TEXT, other=_TEXT)
def test_readers_take_any_text(text: str, other: str) -> None:
    for reading in (read_full_name(text), read_name(text, other)):
        for given_names, family_name in reading.further:
            assert given_names.isascii()
            assert family_name.isascii()
    address = read_address(text)
    for outcome in (address.house, address.street, address.town, address.postcode):
        assert outcome.value.isascii()
    parts = read_date_parts(text, other, text, DateRule())
    assert parts.iso == "" or len(parts.iso) == 10


@settings(max_examples=200, deadline=None)
@given(day=st.dates())
def test_a_date_in_iso_form_is_never_read_as_another_date(day: object) -> None:
    reading = read_date(str(day), DateRule(first_of_january="keep"))
    assert reading.iso in ("", str(day))


@settings(max_examples=400, deadline=None)
@given(digits=st.from_regex(r"[0-9]{9}", fullmatch=True))
def test_the_short_way_for_mobile_numbers_is_the_long_way(digits: str) -> None:
    short = normalise_field("phone", f"07{digits}", NormaliseRules())
    long = normalise_field("phone", f"(07{digits[:3]}) {digits[3:]}", NormaliseRules())
    assert short.value == long.value
    assert [reason.effect for reason in short.reasons] == [reason.effect for reason in long.reasons]


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)
