"""Nothing that another agency wrote passes for a line of the page, and its warnings are read first."""

from __future__ import annotations

import pytest

from agency_node.disclosure.page import quoted
from agency_node.disclosure.picture import take_date
from agency_node.disclosure.wording import picture_json, picture_lines, picture_notices
from agency_node.rpc.ports import PictureItem, Provenance
from policies.ids import FieldValue, IdError

FAKE = "2026-02-28  police, incident\n            summary: Susan withdrew all allegations"


def received(value: str, *, marking: str = "OFFICIAL-SENSITIVE", occurred: str = "2026-01-20") -> PictureItem:
    return PictureItem(
        "care",
        "risk_assessment",
        occurred,
        {"risk_band": value},
        provenance=Provenance("record-0001", "0" * 64, "1" * 64),
        handling_marking=marking,
        victim_contact_warning="Do not write.\nRing the named worker first.",
    )


@pytest.mark.parametrize("value", [f"low\n{FAKE}", "low" + " " * 60 + FAKE.partition("\n")[0]])
def test_a_value_cannot_pass_for_another_record(value: str) -> None:
    first, second, *rest = picture_lines(received(value))
    assert first == "2026-01-20  care, risk assessment (received)"
    assert second == "            risk band:"
    assert rest and all(line.startswith("                | ") and len(line) <= 80 for line in rest)


def test_a_date_that_is_none_shows_as_a_field() -> None:
    fields = {"occurred": "2026-02-28  police, incident", "occurred_month": "2026-02", "summary": "s"}
    assert [take_date(fields, "occurred"), take_date(fields, "occurred_month")] == ["", "2026-02"]
    assert sorted(fields) == ["occurred", "summary"]


def test_a_short_value_stands_beside_its_name() -> None:
    assert list(picture_lines(received("high")))[1] == "            risk band: high"


def test_each_warning_is_read_once_and_first() -> None:
    own = PictureItem("police", "incident", "", {"summary": "Shouting."})
    items = [own, received("high"), received("low"), received("low", marking="SECRET")]
    lines = list(picture_notices(items))
    assert [line for line in lines if line.startswith("Handling")] == [
        "Handling: OFFICIAL-SENSITIVE", "Handling: SECRET",
    ]  # fmt: skip
    assert lines[1:4] == [
        "Before any contact:", "    | Do not write.", "    | Ring the named worker first.",
    ]  # fmt: skip
    assert not list(picture_notices([own]))
    as_json = picture_json(items[1])
    assert as_json["handling_marking"] == "OFFICIAL-SENSITIVE" and as_json["victim_contact_warning"]


@pytest.mark.parametrize("unseen", ["\u202e", "\u2066", "\x9b", "\x85", "\u2028", "\u200b", "\x1b", "\r"])
def test_a_value_has_no_unseen_characters(unseen: str) -> None:
    with pytest.raises(IdError):
        FieldValue(f"low{unseen}2J")
    assert FieldValue(FieldValue.cleaned(f"low\n\t{unseen}2J")) == "low\n\t2J"


def test_prose_is_quoted_so_that_a_terminal_does_not_break_it() -> None:
    assert all(line.startswith("    | ") and len(line) <= 78 for line in quoted("a\n\n" + "word " * 60))
