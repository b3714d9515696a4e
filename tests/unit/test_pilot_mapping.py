"""Pilot mappings: short, tolerant of columns that one file lacks, and clear when wrong or guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency_node.mapping import MappingError
from tallystick.pilot.errors import PilotError
from tallystick.pilot.guess import guess_mapping
from tallystick.pilot.mapping import check_agencies, fit_plan, load_plan


def file(folder: Path, name: str, header: str) -> Path:
    path = folder / name
    path.write_text(f"{header}\n", encoding="utf-8")
    return path


def test_a_column_that_one_file_lacks_leaves_the_field_out(tmp_path: Path) -> None:
    fields = '[fields]\ngiven_names = "first"\nfamily_name = "last"\nstreet = "road"'
    toml = file(tmp_path, "m.toml", fields)
    mapping = fit_plan(load_plan(toml), "care", file(tmp_path, "a.csv", "first;last;born"))
    assert [rule.name for rule in mapping.fields] == ["given_names", "family_name"]
    assert mapping.header.delimiter == ";"
    assert "street is left out" in mapping.notes[0]


def test_an_agency_may_differ(tmp_path: Path) -> None:
    toml = file(
        tmp_path,
        "m.toml",
        '[fields]\ngiven_names = "first"\nfamily_name = "last"\n'
        '[agency.care.fields]\nfamily_name = "surname"',
    )
    plan = load_plan(toml)
    own = fit_plan(plan, "care", file(tmp_path, "a.csv", "first,surname"))
    assert {rule.name: rule.columns for rule in own.fields} == {
        "given_names": ("first",),
        "family_name": ("surname",),
    }
    with pytest.raises(PilotError, match=r'agency\.care\.fields\.family_name.*no column "surname"'):
        fit_plan(plan, "care", file(tmp_path, "b.csv", "first,last"))
    with pytest.raises(PilotError, match="section for care"):
        check_agencies(plan, ["police", "health"])


def test_an_unknown_field_is_named_with_its_line(tmp_path: Path) -> None:
    toml = file(tmp_path, "m.toml", '[fields]\ngivennames = "first"')
    with pytest.raises(MappingError, match=r'line 2.*did you mean "given_names"'):
        load_plan(toml)


def test_usual_headings_are_guessed_and_reported(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "Record ID,First Name,Surname,DOB,Post Code,Colour,truth")
    mapping = guess_mapping("police", path, ["truth"])
    assert {rule.name for rule in mapping.fields} == {
        "given_names",
        "family_name",
        "date_of_birth",
        "postcode",
    }
    assert mapping.record_id == "Record ID"
    assert mapping.notes[1] == "police: not used: Colour"


def test_headings_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PilotError, match="write a mapping"):
        guess_mapping("police", file(tmp_path, "a.csv", "c1,c2,c3"), [])
