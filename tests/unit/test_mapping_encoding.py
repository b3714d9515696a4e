"""The check of a mapping tells the rows that can be read and would get no encoding all the same."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.cli import node_app
from agency_node.config import OnInvalidValue
from agency_node.mapping_check import run_check

_TODAY = date(2026, 1, 1)
_MAPPING = """
[source]
[people]
table = "people.csv"
subject_id = "id"
[people.fields]
given_names = "given"
family_name = "family"
date_of_birth = "dob"
postcode = "postcode"
nhs_number = "nhs"
[[people.former_addresses]]
table = "moved.csv"
subject_id = "id"
fields = { postcode = "from" }
[[people.aliases]]
table = "aliases.csv"
subject_id = "id"
fields = { family_name = "alias" }
"""
_LONG = "Zebedee " * 30


def _check(
    folder: Path, people: str, on_invalid: OnInvalidValue = "drop", moved: str = "", aliases: str = ""
) -> tuple[str, dict[tuple[str, int, str], str], int]:
    """The text, the detail of each problem by its place and reason, and the exit code."""
    (folder / "m.toml").write_text(_MAPPING)
    (folder / "people.csv").write_text("id,given,family,dob,postcode,nhs\n" + people)
    (folder / "moved.csv").write_text("id,from\n" + moved)
    (folder / "aliases.csv").write_text("id,alias\n" + aliases)
    text, code = run_check(folder / "m.toml", today=_TODAY, on_invalid=on_invalid)
    as_json, same_code = run_check(folder / "m.toml", today=_TODAY, on_invalid=on_invalid, as_json=True)
    assert "ebedee" not in (text + as_json).lower()
    assert code == same_code
    problems = json.loads(as_json)["problems"]
    return text, {(p["table"], p["line"], p["reason"]): p["detail"] for p in problems}, code


def test_whoever_has_too_few_facts_is_told(tmp_path: Path) -> None:
    people = "1,Ann,Lee,2/3/1980,,\n2,Ann,Zebedee,,,\n3,,,2/3/1980,,943 476 5919\n4,Bo,,,LS1 4AB,\n"
    text, problems, code = _check(tmp_path, people, moved="2,LS1 4AB\n4,YO1 7HH\n")
    assert code == 1
    assert problems == {
        ("people.csv", 3, "too-few-facts"): "",
        ("people.csv", 5, "too-few-facts"): "",
        ("moved.csv", 3, "too-few-facts"): "",
    }
    assert "3 rows would be left out" in text
    assert "        2  people.csv: too-few-facts" in text
    assert "people.csv line 3: too little is known for an encoding" in text
    assert "complete these rows" in text


@pytest.mark.parametrize(
    ("on_invalid", "reason", "code"), [("drop", "value-refused", 1), ("blank", "value-blanked", 0)]
)
def test_values_that_the_schema_refuses_are_told(
    tmp_path: Path, on_invalid: OnInvalidValue, reason: str, code: int
) -> None:
    people = f"1,Ann,Lee,2/3/1980,LS1 4AB,\n2,{_LONG},Lee,2/3/1980,LS1 4AB,\n"
    text, problems, found = _check(tmp_path, people, on_invalid, aliases=f"1,{_LONG}\n")
    assert problems == {
        ("people.csv", 3, reason): "given_names",
        ("aliases.csv", 2, reason): "family_name",
    }
    assert found == code
    assert f"{2 if code else 0} rows would be left out" in text


def test_a_value_left_out_may_leave_too_few_facts(tmp_path: Path) -> None:
    _, problems, code = _check(tmp_path, f"2,{_LONG},Lee,2/3/1980,,\n", "blank")
    assert problems.keys() == {
        ("people.csv", 2, "value-blanked"),
        ("people.csv", 2, "too-few-facts"),
    }
    assert code == 1


def test_more_names_than_a_linkage_takes_are_told(tmp_path: Path) -> None:
    syllables = [a + b for a in "bdfklmnprst" for b in "aeiou"]
    aliases = "".join(f"1,{one}n{one}\n" for one in syllables[:32])
    _, problems, code = _check(tmp_path, "1,Ann,Lee,2/3/1980,LS1 4AB,\n", aliases=aliases)
    assert problems == {("people.csv", 2, "too-many-identities"): "33, of which 32 are taken"}
    assert code == 1


def test_the_command_ends_with_the_checks_exit_code(tmp_path: Path) -> None:
    for people, code in (("1,Ann,Lee,2/3/1980,,\n", 0), ("1,Ann,Lee,,,\n", 1)):
        _check(tmp_path, people)
        done = CliRunner().invoke(node_app, ["check-mapping", str(tmp_path / "m.toml")])
        assert done.exit_code == code
        assert f"{code} rows would be left out" in done.output
