"""Databases as sources: the same subjects as from files, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, Numeric, String, Table, create_engine, insert, text

from agency_node.mapping import load_mapping
from agency_node.mapping_check import run_check
from agency_node.sources import JoinedSource, SourceError, SourceStructureError, SqlSource, open_source
from agency_node.subjects import Subject, SubjectId

_TODAY = date(2026, 1, 1)
_MAPPING = """
[source]
kind = "sql"
url = "{url}"

[people]
table = "people"
subject_id = "id"
[people.fields]
given_names = "forename"
family_name = "surname"
date_of_birth = "dob"
postcode = "postcode"
[[people.markers]]
marker = "restricted"
column = "access"
values = ["r"]

[[people.former_names]]
table = "names"
subject_id = "person"
fields = {{ family_name = "was" }}

[[records]]
record_type = "referral"
table = "referrals"
record_id = "ref"
subject_id = "person"
occurred = "made"
[records.fields]
score = {{ column = "score", type = "number" }}
"""


def _fill(url: str, people: int = 3) -> None:
    engine = create_engine(url)
    metadata = MetaData()
    table = Table(
        "people",
        metadata,
        Column("id", Integer, primary_key=True),
        *(Column(name, String(40)) for name in ("forename", "surname", "postcode", "access")),
        Column("dob", Date),
    )
    names = Table("names", metadata, Column("person", Integer), Column("was", String(40)))
    referrals = Table(
        "referrals",
        metadata,
        Column("ref", String(8), primary_key=True),
        Column("person", Integer),
        Column("made", Date),
        Column("score", Numeric(6, 2)),
    )
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(table),
            [
                {
                    "id": number,
                    "forename": "Ann",
                    "surname": "Lee",
                    "postcode": "LS1 4AB",
                    "access": "R" if number == 2 else None,
                    "dob": date(1980, 3, 4),
                }
                for number in range(1, people + 1)
            ],
        )
        connection.execute(insert(names), [{"person": 2, "was": "Ray"}, {"person": 77, "was": "Poe"}])
        connection.execute(
            insert(referrals), [{"ref": "R1", "person": 2, "made": date(2020, 1, 1), "score": 2.5}]
        )
    engine.dispose()


def _open(folder: Path, url: str) -> JoinedSource:
    (folder / "mapping.toml").write_text(_MAPPING.format(url=url))
    return open_source(load_mapping(folder / "mapping.toml"), today=_TODAY)


def _all(source: JoinedSource, chunk: int = 2) -> list[Subject]:
    return [subject for part in source.subjects(chunk=chunk) for subject in part]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'cases.db'}"
    else:
        found: str = request.getfixturevalue("postgres_url")
        yield found


def test_subjects_and_records_from_a_database(tmp_path: Path, url: str) -> None:
    _fill(url)
    with _open(tmp_path, url) as source:
        assert isinstance(source, SqlSource)
        first, second, third = _all(source)
        assert first.identities[0].fields["date_of_birth"] == "1980-03-04"
        assert [identity.fields["family_name"] for identity in second.identities] == ["LEE", "RAY"]
        assert second.markers == {"restricted"}
        assert third.subject_id == "3"
        (record,) = source.records_for(SubjectId("2"))
        assert record.occurred == date(2020, 1, 1)
        assert record.fields == {"score": "2.50"}
        assert record.markers == {"restricted"}
        assert source.records_for(SubjectId("not a number")) == []
        assert source.subject(SubjectId("2")) == second
        assert len(_all(source, 1)) == 3
    report, code = run_check(tmp_path / "mapping.toml", today=_TODAY)
    assert code == 1
    assert "names line 2, column person: the subject's number is not in the main table" in report


_SPACED = """
[source]
kind = "sql"
url = "{url}"
[people]
table = "people"
subject_id = "id"
fields = {{ family_name = "surname" }}
[[people.markers]]
marker = "refuge"
column = "flag"
values = ["Y"]
[[people.aliases]]
table = "aliases"
subject_id = "person"
fields = {{ family_name = "alias" }}
[[records]]
record_type = "call"
table = "calls"
record_id = "call"
subject_id = "person"
"""


@pytest.mark.parametrize("spaced", [" p1", "p1  ", "\tp1\r\n", "\u00a0p1 "])
def test_rows_whose_number_has_spaces_around_it_are_found(tmp_path: Path, url: str, spaced: str) -> None:
    engine = create_engine(url)
    metadata = MetaData()
    people, aliases, calls = (
        Table(name, metadata, *(Column(column, String(20)) for column in columns))
        for name, columns in (
            ("people", ("id", "surname", "flag")),
            ("aliases", ("person", "alias")),
            ("calls", ("call", "person")),
        )
    )
    metadata.create_all(engine)
    with engine.begin() as connection:
        unmarked = [{"id": "p1", "surname": "Lee"}, {"id": "p2", "surname": "Roe"}]
        connection.execute(insert(people), unmarked)
        connection.execute(insert(people), {"id": spaced, "surname": "Lee", "flag": "Y"})
        names = [{"person": "p1", "alias": "Ray"}, {"person": spaced, "alias": "Poe"}]
        connection.execute(insert(aliases), names)
        connection.execute(insert(calls), [{"call": "C1", "person": spaced}, {"call": "C2", "person": "p1"}])
    (tmp_path / "mapping.toml").write_text(_SPACED.format(url=url))
    with open_source(load_mapping(tmp_path / "mapping.toml"), today=_TODAY) as source:
        for chunk in (1, 100):
            first, second = sorted(_all(source, chunk), key=lambda subject: subject.subject_id)
            assert (first.subject_id, second.subject_id) == ("p1", "p2")
            names_of = {identity.fields["family_name"] for identity in first.identities}
            assert names_of == {"LEE", "RAY", "POE"}
        asked = source.subject(SubjectId("p1"))
        assert asked is not None and asked.markers == {"refuge"}
        assert len(asked.identities) == 3
        records = source.records_for(SubjectId("p1"))
        assert {record.record_id for record in records} == {"C1", "C2"}
        assert all(record.markers == {"refuge"} for record in records)
        assert source.records_for(SubjectId("p2")) == []
        with engine.begin() as connection:
            connection.execute(insert(calls), [{"call": "C3", "person": f" {spaced}"}])
        assert len(source.records_for(SubjectId("p1"))) == 3
    engine.dispose()


def test_a_missing_table_or_column_is_named(tmp_path: Path, url: str) -> None:
    _fill(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE people RENAME COLUMN forename TO forenames"))
        connection.execute(text("ALTER TABLE names RENAME TO namez"))
    engine.dispose()
    with _open(tmp_path, url) as source:
        assert source.structure_faults() == [
            'table people: there is no column "forename"; did you mean "forenames"?',
            'there is no table "names"; did you mean "namez"?',
        ]
        with pytest.raises(SourceStructureError, match='did you mean "forenames"'):
            _all(source)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////nowhere/at/all/x.db", "database sqlite: no connection"),
        (
            "postgresql+psycopg://u:hunter2@127.0.0.1:1/x?connect_timeout=1",
            "database postgresql at 127.0.0.1",
        ),
        ("hunter2", "cannot be read"),
        ("nosuch://u:hunter2@h/x", "cannot be read"),
        ("mysql+pymysql://u:hunter2@h/x", "driver pymysql is not installed"),
    ],
)
def test_a_database_out_of_reach_is_told_without_the_password(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(SourceError) as caught, _open(tmp_path, url) as source:
        _all(source)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
