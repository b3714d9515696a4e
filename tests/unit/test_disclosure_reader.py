"""Every decision sees the agency's data as they stand at that moment, in files and in databases."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from agency_node.disclosure.records import Holding, SourceReader
from agency_node.mapping import load_mapping
from agency_node.sources import SourceError, open_source
from agency_node.sources.ports import SubjectSource
from agency_node.sources.stamps import SourceStamp
from agency_node.subjects import SubjectId
from policies.agreement import SubjectType

_MAPPING = """
[source]
{source}
[people]
table = "people{ending}"
subject_id = "id"
fields = {{ family_name = "surname" }}
[[people.markers]]
marker = "refuge"
column = "flag"
values = ["Y"]
[[records]]
record_type = "contact"
table = "calls{ending}"
record_id = "call"
subject_id = "id"
occurred = "day"
"""


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Agency:
    """A folder with a mapping, and the reader that a node would have over it; counts how often it opens."""

    def __init__(self, folder: Path, source: str, ending: str = "") -> None:
        self.folder, self.clock, self.opened = folder, Clock(), 0
        self.mapping = folder / "m.toml"
        self.mapping.write_text(_MAPPING.format(source=source, ending=ending))
        self.reader = SourceReader(self._open, self.mapping, self.clock)

    def _open(self) -> SubjectSource:
        self.opened += 1
        return open_source(load_mapping(self.mapping), today=self.clock().date())

    def holding(self) -> Holding:
        found = asyncio.run(self.reader.holding(SubjectId("1"), SubjectType.PERSON))
        assert found is not None
        return found

    def markers(self) -> set[str]:
        """Of the one record that is held."""
        (record,) = self.holding().records
        return set(record.markers)

    def write(self, name: str, lines: str) -> None:
        (self.folder / name).write_text(lines)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Agency]:
    agency = Agency(tmp_path, 'kind = "csv"', ".csv")
    agency.write("people.csv", "id,surname,flag\n1,Lee,N\n")
    agency.write("calls.csv", "call,id,day\nC1,1,2026-02-01\n")
    yield agency
    agency.reader.close()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all files had lain there for longer than the clock of a file system is coarse."""
    monkeypatch.setattr(SourceStamp, "is_settled", True)


@pytest.mark.usefixtures("settled")
def test_files_that_do_not_change_are_indexed_once(files: Agency) -> None:
    for _ in range(3):
        assert files.markers() == set()
    files.clock.now += timedelta(hours=3)
    assert files.markers() == set()
    assert files.opened == 1


def test_a_marker_that_was_just_set_is_seen(files: Agency) -> None:
    """Written in place, as many bytes as before, and at once: only the time of the change can tell."""
    for flag in "YNYNYN":
        files.write("people.csv", f"id,surname,flag\n1,Lee,{flag}\n")
        assert files.markers() == ({"refuge"} if flag == "Y" else set())


@pytest.mark.usefixtures("settled")
def test_a_file_put_in_place_of_another_with_the_same_size_and_time_is_seen(files: Agency) -> None:
    assert files.markers() == set()
    path = files.folder / "people.csv"
    times = path.stat()
    files.write("new.csv", "id,surname,flag\n1,Lee,Y\n")
    os.utime(files.folder / "new.csv", ns=(times.st_atime_ns, times.st_mtime_ns))
    (files.folder / "new.csv").replace(path)
    assert files.markers() == {"refuge"}


@pytest.mark.usefixtures("settled")
def test_a_file_that_is_missing_for_a_while_gives_no_old_answer(files: Agency) -> None:
    assert files.markers() == set()
    (files.folder / "calls.csv").unlink()
    with pytest.raises(SourceError):
        files.holding()
    files.write("calls.csv", "call,id,day\nC1,1,2026-02-01\nC2,1,2026-02-01\n")
    assert len(files.holding().records) == 2


def test_a_rule_that_was_added_to_the_mapping_holds_at_once(files: Agency) -> None:
    assert files.markers() == set()
    files.mapping.write_text(files.mapping.read_text().replace('values = ["Y"]', 'values = ["N"]'))
    assert files.markers() == {"refuge"}


@pytest.mark.usefixtures("settled")
def test_what_changes_while_it_is_read_is_read_again(files: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    surnames = iter(["Lee-Ray"])
    read = files._open

    def opened() -> SubjectSource:
        source = read()
        records_for = source.records_for

        def late(*arguments: object) -> object:
            found = records_for(*arguments)  # type: ignore[arg-type] # passed on as they came
            if surname := next(surnames, ""):
                files.write("people.csv", f"id,surname,flag\n1,{surname},Y\n")
            return found

        monkeypatch.setattr(source, "records_for", late)
        return source

    reader = SourceReader(opened, files.mapping, files.clock)
    found = asyncio.run(reader.holding(SubjectId("1"), SubjectType.PERSON))
    assert found is not None and found.subject.markers == found.records[0].markers == {"refuge"}
    assert files.opened == 2
    surnames = iter("Lee" * times for times in range(4, 20))
    with pytest.raises(SourceError, match="faster than they can be read"):
        asyncio.run(reader.holding(SubjectId("1"), SubjectType.PERSON))
    reader.close()


@pytest.mark.usefixtures("settled")
def test_a_record_of_today_is_dated_however_long_the_node_has_run(files: Agency) -> None:
    files.write("calls.csv", "call,id,day\nC1,1,2026-03-05\n")
    assert files.holding().records[0].occurred is None
    files.clock.now += timedelta(days=3)
    assert files.holding().records[0].occurred is not None


def test_a_stamp_settles_once_its_files_have_rested(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    fresh = SourceStamp.of([path])
    assert fresh == SourceStamp.of([path]) and not fresh.is_settled
    assert SourceStamp(fresh.files, fresh.taken_ns + 3_000_000_000).is_settled
    assert SourceStamp.of([tmp_path / "absent"]).files == (None,)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Agency, str]]:
    local = f"sqlite:///{tmp_path / 'cases.db'}"
    url = local if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    _write(
        url,
        "CREATE TABLE people (id VARCHAR(9), surname VARCHAR(9), flag VARCHAR(9))",
        "CREATE TABLE calls (call VARCHAR(9), id VARCHAR(9), day VARCHAR(10))",
        "INSERT INTO people VALUES ('1', 'Lee', 'N')",
        "INSERT INTO calls VALUES ('C1', '1', '2026-02-01')",
    )
    agency = Agency(tmp_path, f'kind = "sql"\nurl = "{url}"')
    yield agency, url
    agency.reader.close()


def _write(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.mark.usefixtures("settled")
def test_a_database_is_read_as_it_stands_without_being_opened_anew(database: tuple[Agency, str]) -> None:
    agency, url = database
    for flag in "YNY":
        _write(url, f"UPDATE people SET flag = '{flag}'")
        assert agency.markers() == ({"refuge"} if flag == "Y" else set())
    _write(url, "INSERT INTO calls VALUES ('C2', '1', '2026-02-02')")
    assert len(agency.holding().records) == 2
    assert agency.opened == 1


@pytest.mark.usefixtures("settled")
def test_a_database_file_put_in_place_of_another_is_seen(tmp_path: Path) -> None:
    for name, flag in (("cases.db", "N"), ("new.db", "Y")):
        with sqlite3.connect(tmp_path / name) as connection:
            connection.executescript(
                "CREATE TABLE people (id TEXT, surname TEXT, flag TEXT);"
                "CREATE TABLE calls (call TEXT, id TEXT, day TEXT);"
                f"INSERT INTO people VALUES ('1', 'Lee', '{flag}'); INSERT INTO calls VALUES ('C1', '1', '');"
            )
        connection.close()
    agency = Agency(tmp_path, f'kind = "sql"\nurl = "sqlite:///{tmp_path / "cases.db"}"')
    assert agency.markers() == set()
    (tmp_path / "new.db").replace(tmp_path / "cases.db")
    assert agency.markers() == {"refuge"}
    agency.reader.close()
