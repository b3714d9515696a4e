"""UK realities, one row each: what a cell becomes and why."""

from __future__ import annotations

from datetime import date

import pytest

from agency_node.normalise import (
    DateRule,
    NormalisationReport,
    NormaliseRules,
    Outcome,
    Reason,
    normalise_field,
    read_address,
    read_date,
    read_date_parts,
    read_full_name,
    read_name,
)
from agency_node.normalise.names import read_family_name, read_given_names

_DEFAULT = NormaliseRules()


@pytest.mark.parametrize(
    ("text", "value", "former", "aliases"),
    [
        ("Jones", "JONES", (), ()),
        ("  O'Brien ", "OBRIEN", (), ()),
        ("O\u2019Brien", "OBRIEN", (), ()),
        ("O Brien", "OBRIEN", (), ()),
        ("Mc Donald", "MCDONALD", (), ()),
        ("van der Berg", "VANDERBERG", (), ()),
        ("Vander Berg", "VANDER BERG", (), ()),
        ("de la Cruz", "DELACRUZ", (), ()),
        ("al-Hassan", "ALHASSAN", (), ()),
        ("Saint-Clair", "STCLAIR", (), ()),
        ("Smith-Jones", "SMITH JONES", (), ()),
        ("Müller", "MULLER", (), ()),
        ("Łukasiewicz", "LUKASIEWICZ", (), ()),
        ("Иванов", "IVANOV", (), ()),
        ("Jones (née Smith)", "JONES", ("SMITH",), ()),
        ("Jones nee Smith", "JONES", ("SMITH",), ()),
        ("JONES (SMITH)", "JONES", ("SMITH",), ()),
        ("Jones formerly Smith", "JONES", ("SMITH",), ()),
        ("Jones f.k.a. van Dyke", "JONES", ("VANDYKE",), ()),
        ("Jones a.k.a. Brown", "JONES", (), ("BROWN",)),
        ("Jones/Brown", "JONES", (), ("BROWN",)),
        ("née Smith", "SMITH", (), ()),
        ("Smith Jnr", "SMITH", (), ()),
        ("Mrs Smith", "SMITH", (), ()),
        ("Unknown", "", (), ()),
        ("N/A", "", (), ()),
        ("---", "", (), ()),
    ],
)
def test_family_names(text: str, value: str, former: tuple[str, ...], aliases: tuple[str, ...]) -> None:
    reading = read_family_name(text)
    assert (reading.outcome.value, reading.former, reading.aliases) == (value, former, aliases)


@pytest.mark.parametrize(
    ("text", "value", "aliases"),
    [
        ("Susan Mary", "SUSAN MARY", ()),
        ("Mrs Susan", "SUSAN", ()),
        ("Mary-Ann", "MARY ANN", ()),
        ('William "Bill"', "WILLIAM", ("BILL",)),
        ("Susan (Sue)", "SUSAN", ("SUE",)),
        ("Susan aka Sue", "SUSAN", ("SUE",)),
        ("Ben David", "BEN DAVID", ()),
        ("J.P.", "J P", ()),
        ("Baby Boy", "", ()),
        ("Twin 1", "", ()),
        ("Mr", "", ()),
    ],
)
def test_given_names(text: str, value: str, aliases: tuple[str, ...]) -> None:
    reading = read_given_names(text)
    assert (reading.outcome.value, reading.aliases) == (value, aliases)


@pytest.mark.parametrize(
    ("text", "given", "family", "further"),
    [
        ("Mrs Susan Mary Jones (nee Smith)", "SUSAN MARY", "JONES", (("SUSAN MARY", "SMITH"),)),
        ("JONES, Susan Mary", "SUSAN MARY", "JONES", ()),
        ("Smith, John (Jack)", "JOHN", "SMITH", (("JACK", "SMITH"),)),
        ("Susan Jones aka Sue Brown", "SUSAN", "JONES", (("SUE", "BROWN"),)),
        ("Ludwig van der Berg", "LUDWIG", "VANDERBERG", ()),
        ("Dr John Smith, OBE", "JOHN", "SMITH", ()),
        ("Madonna", "", "MADONNA", ()),
    ],
)
def test_full_names(text: str, given: str, family: str, further: tuple[tuple[str, str], ...]) -> None:
    reading = read_full_name(text)
    assert (reading.given.value, reading.family.value, reading.further) == (given, family, further)


def test_a_former_name_and_a_nickname_each_give_a_further_name() -> None:
    reading = read_name("Susan (Sue)", "Jones (née Smith)")
    assert reading.further == (("SUSAN", "SMITH"), ("SUE", "JONES"))


@pytest.mark.parametrize(
    ("text", "iso", "reason"),
    [
        ("1980-03-14", "1980-03-14", None),
        ("14/03/1980", "1980-03-14", None),
        ("14.03.1980", "1980-03-14", None),
        ("14-3-80", "1980-03-14", Reason.TWO_DIGIT_YEAR),
        ("4/3/1980", "1980-03-04", Reason.DAY_MONTH_SWAP_PLAUSIBLE),
        ("3/25/1980", "1980-03-25", Reason.US_ORDER),
        ("14 Mar 1980", "1980-03-14", None),
        ("14th March 1980", "1980-03-14", None),
        ("March 14, 1980", "1980-03-14", None),
        ("Fri 14 March 1980", "1980-03-14", None),
        ("14MAR1980", "1980-03-14", None),
        ("19800314", "1980-03-14", None),
        ("14031980", "1980-03-14", None),
        ("29294", "1980-03-14", Reason.EXCEL_SERIAL),
        ("29294.0", "1980-03-14", Reason.EXCEL_SERIAL),
        ("1980-03-14T00:00:00Z", "1980-03-14", None),
        ("14/03/1980 09:30", "1980-03-14", Reason.TIME_REMOVED),
        ("01/01/1980", "", Reason.FIRST_OF_JANUARY),
        ("1900-01-01", "", Reason.DEFAULT_DATE),
        ("30/12/1899", "", Reason.DEFAULT_DATE),
        ("9999-12-31", "", Reason.DEFAULT_DATE),
        ("31/02/1980", "", Reason.INVALID_FORMAT),
        ("14/03/1780", "", Reason.OUT_OF_RANGE),
        ("14/03/2031", "", Reason.OUT_OF_RANGE),
        ("unknown", "", Reason.PLACEHOLDER),
        ("about 40", "", Reason.INVALID_FORMAT),
    ],
)
def test_dates(text: str, iso: str, reason: Reason | None) -> None:
    reading = read_date(text, DateRule(latest=date(2026, 1, 1)))
    assert reading.iso == iso
    assert reading.reasons == () if reason is None else reason in reading.reasons


@pytest.mark.parametrize(
    ("text", "year", "day_month"),
    [
        ("1980", "1980", ""),
        ("Mar 1980", "1980", "03-"),
        ("03/1980", "1980", "03-"),
        ("1980-03", "1980", "03-"),
        ("??/03/1980", "1980", "03-"),
        ("1980-00-00", "1980", ""),
        ("14/03/0000", "", "03-14"),
        ("19800300", "1980", "03-"),
        ("01/01/1980", "1980", ""),
    ],
)
def test_partial_dates_keep_what_is_known(text: str, year: str, day_month: str) -> None:
    reading = read_date(text, DateRule())
    assert (reading.iso, reading.birth_year, reading.birth_day_month) == ("", year, day_month)
    assert Reason.PARTIAL_DATE in reading.reasons


def test_date_cells_apart() -> None:
    rule = DateRule(latest=date(2026, 1, 1))
    assert read_date_parts("14", "3.0", "1980", rule).iso == "1980-03-14"
    assert read_date_parts("14", "March", "80", rule).iso == "1980-03-14"
    assert read_date_parts("14", "3", "", rule).birth_day_month == "03-14"
    assert read_date_parts("", "3", "1980", rule).birth_day_month == "03-"
    assert read_date_parts("", "", "", rule).reasons == ()
    impossible = read_date_parts("31", "2", "1980", rule)
    assert (impossible.iso, impossible.birth_year, impossible.birth_day_month) == ("", "1980", "02-")
    assert impossible.reasons == (Reason.INVALID_FORMAT, Reason.PARTIAL_DATE)
    assert read_date_parts("soon", "2", "1980", rule).reasons == (Reason.INVALID_FORMAT,)


def test_date_rules_are_followed() -> None:
    assert read_date("03/14/1980", DateRule(order="mdy")).reasons == ()
    assert read_date("4/3/1980", DateRule(order="mdy")).iso == "1980-04-03"
    assert read_date("80-73", DateRule(formats=("%y-%j",))).iso == "1980-03-13"
    assert read_date("1/1/1980", DateRule(first_of_january="keep")).iso == "1980-01-01"
    assert read_date("1/2/27", DateRule(latest=date(2026, 1, 1))).iso == "1927-02-01"
    assert read_date("1/2/25", DateRule(latest=date(2026, 1, 1))).iso == "2025-02-01"


@pytest.mark.parametrize(
    ("name", "text", "value", "reason"),
    [
        ("postcode", "sw1a 1aa", "SW1A1AA", Reason.REFORMATTED),
        ("postcode", "SW1A OAA", "SW1A0AA", Reason.CHARACTER_CORRECTED),
        ("postcode", "M1 1AE", "M11AE", Reason.REFORMATTED),
        ("postcode", "EC1A1BB", "EC1A1BB", None),
        ("postcode", "GIR 0AA", "GIR0AA", Reason.REFORMATTED),
        ("postcode", "ZZ99 3VZ", "", Reason.PSEUDO_POSTCODE),
        ("postcode", "N.F.A.", "", Reason.NO_FIXED_ABODE),
        ("postcode", "no fixed abode", "", Reason.NO_FIXED_ABODE),
        ("postcode", "SW1A", "", Reason.OUTWARD_CODE_ONLY),
        ("postcode", "4223", "", Reason.INVALID_FORMAT),
        ("nhs_number", "943 476 5919", "9434765919", Reason.REFORMATTED),
        ("nhs_number", "943-476-5919", "9434765919", Reason.REFORMATTED),
        ("nhs_number", "9434765918", "", Reason.INVALID_CHECK_DIGIT),
        ("nhs_number", "9990000018", "9990000018", Reason.TEST_RANGE),
        ("nhs_number", "1111111111", "", Reason.PLACEHOLDER),
        ("nhs_number", "9.43E+09", "", Reason.NUMBER_DAMAGED),
        ("nhs_number", "943476591", "", Reason.INVALID_FORMAT),
        ("upn", "b801200005001", "B801200005001", Reason.REFORMATTED),
        ("upn", "A801200005001", "", Reason.INVALID_CHECK_DIGIT),
        ("upn", "I801200005001", "", Reason.INVALID_FORMAT),
        ("phone", "0113 243 1234", "+441132431234", Reason.REFORMATTED),
        ("phone", "0044 113 243 1234", "+441132431234", Reason.REFORMATTED),
        ("phone", "1132431234", "+441132431234", Reason.LEADING_ZEROS_RESTORED),
        ("phone", "07700 900123", "+447700900123", Reason.TEST_RANGE),
        ("phone", "0113 243 1234 ext 5", "+441132431234", Reason.EXTENSION_REMOVED),
        ("phone", "07911 123456 / 0113 2431234", "+447911123456", Reason.SEVERAL_VALUES),
        ("phone", "00000000000", "", Reason.PLACEHOLDER),
        ("phone", "none", "", Reason.PLACEHOLDER),
        ("phone", "12345", "", Reason.INVALID_FORMAT),
        ("email", "Susan.Jones@Example.org", "susan.jones@example.org", Reason.REFORMATTED),
        ("email", "Susan <s@example.org>", "s@example.org", Reason.REFORMATTED),
        ("email", "a@example.org; b@example.org", "a@example.org", Reason.SEVERAL_VALUES),
        ("email", "noemail@nhs.net", "", Reason.PLACEHOLDER),
        ("email", "not an address", "", Reason.INVALID_FORMAT),
        ("uprn", "000100012345678", "100012345678", Reason.LEADING_ZEROS_REMOVED),
        ("uprn", "100012345678.0", "100012345678", Reason.REFORMATTED),
        ("uprn", "1.00012E+11", "", Reason.NUMBER_DAMAGED),
        ("sex", "M", "M", None),
        ("sex", "2", "F", Reason.CODE_TRANSLATED),
        ("sex", "male", "M", Reason.CODE_TRANSLATED),
        ("sex", "Non-binary", "X", Reason.CODE_TRANSLATED),
        ("sex", "9", "", Reason.NOT_KNOWN_CODE),
        ("sex", "U", "", Reason.NOT_KNOWN_CODE),
        ("sex", "Q7", "", Reason.UNKNOWN_CODE),
        ("house", "1.0", "1", Reason.REFORMATTED),
        ("house", "No. 5", "5", Reason.ABBREVIATION_EXPANDED),
        ("house", "Apt 4", "FLAT 4", Reason.ABBREVIATION_EXPANDED),
        ("street", "St. John's Rd.", "ST JOHNS ROAD", Reason.ABBREVIATION_EXPANDED),
        ("street", "High St.", "HIGH STREET", Reason.ABBREVIATION_EXPANDED),
        ("street", "Church St North", "CHURCH STREET NORTH", Reason.ABBREVIATION_EXPANDED),
        ("street", "NFA", "", Reason.NO_FIXED_ABODE),
        ("town", "Leeds", "LEEDS", Reason.REFORMATTED),
        ("town", "West Yorkshire", "", Reason.COUNTRY_REMOVED),
    ],
)
def test_fields(name: str, text: str, value: str, reason: Reason | None) -> None:
    outcome = normalise_field(name, text, _DEFAULT)
    assert outcome.value == value
    assert outcome.reasons == () if reason is None else reason in outcome.reasons


def test_an_overseas_postcode_is_kept_where_the_rules_allow_it() -> None:
    assert normalise_field("postcode", "4223", NormaliseRules(postcodes="any")).value == "4223"


@pytest.mark.parametrize(
    ("text", "house", "street", "town", "postcode"),
    [
        ("Flat 2, 14 High St, Leeds, LS1 4AB", "FLAT 2 14", "HIGH STREET", "LEEDS", "LS14AB"),
        ("1 WINDSOR ROAD", "1", "WINDSOR ROAD", "", ""),
        ("1, Windsor Road", "1", "WINDSOR ROAD", "", ""),
        ("14B High St. Leeds LS1 4AB", "14B", "HIGH STREET", "LEEDS", "LS14AB"),
        ("Rose Cottage, Mill Lane, Otley", "ROSE COTTAGE", "MILL LANE", "OTLEY", ""),
        ("Flat 2 14 St Johns Rd", "FLAT 2 14", "ST JOHNS ROAD", "", ""),
        ("2/1, 45 Byres Rd, Glasgow", "2/1 45", "BYRES ROAD", "GLASGOW", ""),
        (
            "The Old Vicarage\n3 Church Rd\nEly\nCambridgeshire\nCB6 1AA",
            "THE OLD VICARAGE 3",
            "CHURCH ROAD",
            "ELY",
            "CB61AA",
        ),
        ("221b Baker Street, London, NW1 6XE, UK", "221B", "BAKER STREET", "LONDON", "NW16XE"),
        ("c/o 5 Park Ave, York", "5", "PARK AVENUE", "YORK", ""),
        ("No fixed abode", "", "", "", ""),
    ],
)
def test_addresses(text: str, house: str, street: str, town: str, postcode: str) -> None:
    reading = read_address(text)
    found = (reading.house.value, reading.street.value, reading.town.value, reading.postcode.value)
    assert found == (house, street, town, postcode)


def test_the_report_counts_and_never_shows_a_value() -> None:
    report, other = NormalisationReport(), NormalisationReport()
    for text in ("LS1 4AB", "ZZ99 3VZ", ""):
        report.record("postcode", normalise_field("postcode", text, _DEFAULT), given=bool(text))
    other.record("postcode", Outcome("LS14AB"), given=True)
    report.merge(other)
    counts = report.fields["postcode"]
    assert (counts.seen, counts.given, counts.kept, counts.dropped) == (4, 3, 2, 1)
    assert counts.by_effect("dropped") == {Reason.PSEUDO_POSTCODE: 1}
    assert "LS1" not in report.render() + str(report.to_json())
