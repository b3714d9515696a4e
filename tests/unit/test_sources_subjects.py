"""Subjects and case records from files, with their aliases, former names and addresses."""

from __future__ import annotations

import os
import stat
from datetime import date
from pathlib import Path

import pytest

from agency_node.mapping import load_mapping
from agency_node.mapping_check import run_check
from agency_node.sources import BadRowError, CsvFolderSource, JoinedSource, RowFault, open_source
from agency_node.subjects import Subject, SubjectId

_EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "mapping" / "police.toml"
_TODAY = date(2026, 1, 1)

_MAPPING = """
[source]
folder = "."
on_bad_row = "{on_bad_row}"

[people]
table = "people.csv"
subject_id = "id"
[people.fields]
given_names = "forename"
family_name = "surname"
postcode = "postcode"

[[people.former_names]]
table = "names.csv"
subject_id = "id"
fields = {{ family_name = "was" }}

[places]
table = "places.csv"
subject_id = "place"
[places.fields]
house = "no"
street = "street"
uprn = "uprn"

[[records]]
record_type = "call"
subject_type = "place"
table = "calls.csv"
record_id = "call"
subject_id = "place"
occurred = "at"
[records.fields]
minutes = {{ column = "minutes", type = "integer" }}
"""


def _source(folder: Path, people: str, names: str = "", on_bad_row: str = "skip") -> JoinedSource:
    (folder / "mapping.toml").write_text(_MAPPING.format(on_bad_row=on_bad_row))
    (folder / "people.csv").write_text("id,forename,surname,postcode\n" + people)
    (folder / "names.csv").write_text("id,was\n" + names)
    (folder / "places.csv").write_text("place,no,street,uprn\nP1,1,High St,100\n")
    (folder / "calls.csv").write_text(
        "call,place,at,minutes\nC1,P1,1/1/2020,5\nC2,P1,soon,x\nC3,P9,,1\n,P1,,\n"
    )
    return open_source(load_mapping(folder / "mapping.toml"), today=_TODAY)


def _all(source: JoinedSource, chunk: int = 2) -> list[Subject]:
    return [subject for part in source.subjects(chunk=chunk) for subject in part]


def test_the_example_gives_every_known_name_and_address() -> None:
    with open_source(load_mapping(_EXAMPLE), today=_TODAY) as source:
        susan, alan, lukasz, _ = _all(source)
        current, maiden, sue, york = susan.identities
        assert current.fields == {
            "given_names": "SUSAN MARY",
            "family_name": "JONES",
            "date_of_birth": "1979-04-03",
            "birth_year": "1979",
            "birth_day_month": "04-03",
            "sex": "F",
            "house": "14B",
            "street": "HIGH STREET",
            "town": "LEEDS",
            "address": "14B HIGH STREET",
            "postcode": "LS14AB",
            "phone": "+447700900123",
        }
        assert maiden.fields == {**current.fields, "family_name": "SMITH"}
        assert sue.fields == {**current.fields, "given_names": "SUE"}
        assert (york.fields["address"], york.fields["postcode"]) == ("FLAT 3 20 CHURCH ROAD", "YO17HH")
        assert york.fields["given_names"] == "SUSAN MARY"
        assert [identity.fields["family_name"] for identity in alan.identities] == ["OBRIEN", "BRIEN"]
        assert lukasz.markers == {"restricted"}
        assert "date_of_birth" not in lukasz.identities[0].fields
        assert lukasz.identities[0].fields["birth_year"] == "1980"
        assert source.subject(SubjectId("N1001")) == susan
        assert source.subject(SubjectId("N9")) is None
        assert "SUSAN" not in repr(susan) + repr(susan.identities[0])


def test_case_records_are_typed_and_marked() -> None:
    with open_source(load_mapping(_EXAMPLE), today=_TODAY) as source:
        first, second = source.records_for(SubjectId("N1001"))
        assert (first.record_id, first.occurred) == ("I-1", date(2019, 1, 1))
        assert first.fields["injuries"] == "0"
        assert first.fields["weapon"] == "false"
        assert "\n" in first.fields["summary"]
        assert first.markers == frozenset()
        assert second.markers == {"safe_address"}
        assert "shouting" not in repr(first)
        assert source.records_for(SubjectId("nobody")) == []


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_missing_and_repeated_subject_numbers(tmp_path: Path, chunk: int) -> None:
    people = "1,Ann,Lee,LS1 4AB\n,Bob,Lee,\n2,Cy,Lee,\n1,Dee,Lee,\n3,Ed\n"
    with _source(tmp_path, people, "1,Ray\n1,Roe\n7,Poe\n") as source:
        found = _all(source, chunk)
        assert [subject.subject_id for subject in found] == ["1", "2"]
        assert [identity.fields["family_name"] for identity in found[0].identities] == ["LEE", "RAY", "ROE"]
        faults = [(problem.line, problem.reason) for problem in source.problems.listed]
        assert sorted(faults) == [
            (3, RowFault.NO_SUBJECT_ID),
            (5, RowFault.DUPLICATE_SUBJECT_ID),
            (6, RowFault.TOO_FEW_CELLS),
        ]
        assert source.problems.rows_lost == 3


def test_refusing_says_where(tmp_path: Path) -> None:
    with (
        _source(tmp_path, "1,Ann,Lee,\n2,Cy\n", on_bad_row="refuse") as source,
        pytest.raises(BadRowError, match=r'people\.csv line 3: .*expected 4, found 2.*on_bad_row = "skip"'),
    ):
        _all(source)


def test_a_malformed_side_row_is_reported_once(tmp_path: Path) -> None:
    with _source(tmp_path, "1,Ann,Lee,\n2,Cy,Lee,\n3,Di,Lee,\n", "1,Ray,extra\n2,Roe\n") as source:
        assert len(_all(source, 1)) == 3
        assert source.problems.of(RowFault.TOO_MANY_CELLS) == 1


def test_places_and_their_records(tmp_path: Path) -> None:
    with _source(tmp_path, "1,Ann,Lee,\n") as source:
        (place,) = next(source.subjects("place"))
        assert place.identities[0].fields == {
            "house": "1",
            "street": "HIGH STREET",
            "address": "1 HIGH STREET",
            "uprn": "100",
        }
        calls = source.records_for(SubjectId("P1"), "place")
        assert [(call.record_id, call.occurred, call.fields) for call in calls] == [
            ("C1", date(2020, 1, 1), {"minutes": "5"}),
            ("C2", None, {}),
        ]


def test_the_index_has_no_name_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    with CsvFolderSource(load_mapping(_EXAMPLE), today=_TODAY, work_folder=tmp_path) as source:
        assert len(_all(source)) == 4
        assert list(tmp_path.iterdir()) == []
        (index,) = _open_in(tmp_path)
        assert (stat.S_IMODE(index.stat().st_mode), index.stat().st_nlink) == (0o600, 0)
    assert _open_in(tmp_path) == []


def _open_in(folder: Path) -> list[Path]:
    """The files of a folder that this process has open, as paths by which even deleted ones are read."""
    links = list(Path("/proc/self/fd").iterdir())
    return [link for link in links if os.path.realpath(link).startswith(f"{folder.resolve()}/")]


def test_the_check_tells_every_problem_and_no_value(tmp_path: Path) -> None:
    people = "1,Ann,Lee,LS1 4AB\n,Bob,Lee,\n2,Cy,Lee,ZZ99 3VZ\n1,Dee,Zebedee,\n3,Ed\n4,Unknown,Lee,XYZZY\n"
    _source(tmp_path, people, "7,Poe\n").close()
    text, code = run_check(tmp_path / "mapping.toml", today=_TODAY)
    assert code == 1
    for expected in (
        "people.csv line 3, column id: the subject's number is empty",
        "people.csv line 5, column id: the subject's number stands in an earlier row",
        "people.csv line 6: the row has fewer cells",
        "people.csv line 4, column postcode: a pseudo postcode",
        "people.csv line 7, column postcode: not a valid value",
        "names.csv line 2, column id: the subject's number is not in the main table",
        "calls.csv line 3, column at: the cell is not of the type",
        "calls.csv line 3, column minutes: the cell is not of the type",
        "calls.csv line 4, column place: the subject's number is not in the main table",
        "calls.csv line 5, column call: the record's number is empty",
        "3 people with",
        "date_of_birth, sex, house, street not mapped",
        "further names belong in [[people.aliases]]",
    ):
        assert expected in text
    as_json, _ = run_check(tmp_path / "mapping.toml", as_json=True, today=_TODAY)
    for value in ("Zebedee", "XYZZY", "LS1", "ZEBEDEE"):
        assert value not in text + as_json


def test_the_check_names_what_is_not_there(tmp_path: Path) -> None:
    _source(tmp_path, "").close()
    (tmp_path / "names.csv").unlink()
    (tmp_path / "calls.csv").write_text("call,plce,at,minutes\n")
    text, code = run_check(tmp_path / "mapping.toml", today=_TODAY)
    assert code == 2
    assert "names.csv: no such file" in text
    assert 'calls.csv, line 1: there is no column "place"; did you mean "plce"?' in text


def test_look_alikes_are_counted(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[source]\n[people]\ntable = "p.csv"\nsubject_id = "id"\n[people.fields]\n'
        'full_name = "name"\ndate_of_birth = "dob"\npostcode = "pc"\n'
    )
    rows = [f"{n},Ann Lee,2/3/1980,LS1 4AB" for n in range(3)] + ["9,Ann Lee,2/3/1981,LS1 4AB"]
    (tmp_path / "p.csv").write_text("id,name,dob,pc\n" + "\n".join(rows))
    text, code = run_check(tmp_path / "m.toml", today=_TODAY)
    assert code == 0
    assert "2 people look like an earlier one" in text
