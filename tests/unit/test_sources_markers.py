"""Markers fail closed: what the mapping does not explain counts as marked, whichever way a source is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, create_engine, insert

from agency_node.mapping import MappingError, load_mapping
from agency_node.mapping_check import run_check
from agency_node.normalise import NormalisationReport
from agency_node.sources import JoinedSource, ProblemLog, RowFault, open_source
from agency_node.sources.columnar import ColumnAssembler
from agency_node.subjects import SubjectId

_TODAY = date(2026, 1, 1)
_MAPPING = """
[source]
{source}

[people]
table = "people{ending}"
subject_id = "id"
[people.fields]
family_name = "surname"
[[people.markers]]
marker = "refuge"
column = "placement"
values = ["Refuge", "R"]
unmarked_values = ["Own tenancy"]
[[people.markers]]
marker = "restricted"
column = "placement"
values = ["0"]

[[records]]
record_type = "contact"
table = "calls{ending}"
record_id = "call"
subject_id = "id"
[records.fields]
note = "note"
[[records.markers]]
marker = "safe_address"
column = "flag"
values = ["Y"]
[[records.markers]]
marker = "informant"
column = "source"
"""
Rows = list[tuple[str, ...]]
_PLACEMENTS: dict[str, set[str]] = {
    "": set(),
    "  ": set(),
    " refuge ": {"refuge"},
    "r": {"refuge"},
    "OWN TENANCY": set(),
    "No": set(),
    "none": set(),
    "false": set(),
    "0": {"restricted"},
    "Refuge!": {"refuge", "restricted"},
    "unknown": {"refuge", "restricted"},
    "R\u200b": {"refuge", "restricted"},
}
_ODD = 3
_CALLS = [
    ("C1", "p0", "y", "", {"safe_address"}),
    ("C2", "p0", "Yes", "", {"safe_address"}),
    ("C3", "p0", "N", "no", {"informant"}),
    ("C4", "p0", "", "", set()),
    ("C5", "p2", "n", "", {"refuge"}),
]
_PEOPLE: Rows = [(f"p{number}", "Lee", cell) for number, cell in enumerate(_PLACEMENTS)]
Opened = Callable[[Rows, Rows], JoinedSource]


@pytest.fixture(params=["csv", "sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens a source over the rows of people and calls."""
    tables = {"people": ("id", "surname", "placement"), "calls": ("call", "id", "flag", "source", "note")}

    def files(people: Rows, calls: Rows) -> str:
        for name, rows in (("people", people), ("calls", calls)):
            lines = [",".join(cells) for cells in (tables[name], *rows)]
            (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return 'kind = "csv"'

    def database(people: Rows, calls: Rows) -> str:
        is_local = request.param == "sqlite"
        url = f"sqlite:///{tmp_path / 'cases.db'}" if is_local else request.getfixturevalue("postgres_url")
        engine, metadata = create_engine(url), MetaData()
        for name, rows in (("people", people), ("calls", calls)):
            table = Table(name, metadata, *(Column(column, String(40)) for column in tables[name]))
            table.create(engine)
            with engine.begin() as connection:
                connection.execute(insert(table), [dict(zip(tables[name], row, strict=True)) for row in rows])
        engine.dispose()
        return f'kind = "sql"\nurl = "{url}"'

    def both(people: Rows, calls: Rows) -> JoinedSource:
        source = files(people, calls) if request.param == "csv" else database(people, calls)
        ending = ".csv" if request.param == "csv" else ""
        (tmp_path / "m.toml").write_text(_MAPPING.format(source=source, ending=ending))
        return open_source(load_mapping(tmp_path / "m.toml"), today=_TODAY)

    return both


def test_a_cell_that_is_not_explained_counts_as_marked_and_is_reported(opened: Opened) -> None:
    calls: Rows = [(*row[:4], "x") for row in _CALLS]
    with opened(_PEOPLE, calls) as source:
        found = [subject for chunk in source.subjects(chunk=5) for subject in chunk]
        expected = {f"p{number}": marks for number, marks in enumerate(_PLACEMENTS.values())}
        assert {str(subject.subject_id): set(subject.markers) for subject in found} == expected
        assert source.problems.of(RowFault.UNEXPLAINED_MARK) == _ODD
        assert source.problems.rows_lost == 0
        for subject in found:
            assert source.subject(subject.subject_id) == subject
        records = [*source.records_for(SubjectId("p0")), *source.records_for(SubjectId("p2"))]
        assert {record.record_id: set(record.markers) for record in records} == {
            number: marks for number, _, _, _, marks in _CALLS
        }
        source.check_side_tables()
        (odd,) = [problem for problem in source.problems.listed if problem.column == "flag"]
        assert odd.reason is RowFault.UNEXPLAINED_MARK and not odd.drops_row
        # a database does not say in what order it gives the rows of one subject
        assert odd.line == 3 if odd.table.endswith(".csv") else odd.line <= len(calls)
        assert "Yes" not in odd.render()


def test_columns_at_a_time_report_the_same_cells(opened: Opened) -> None:
    with opened(_PEOPLE, [("C1", "p0", "", "", "x")]) as source:
        rule = source.mapping.subject_rule("person")
        assert rule is not None
        by_row = [subject for chunk in source.subjects() for subject in chunk]
        (chunk,) = source.raw_chunks(chunk=100)
        problems = ProblemLog()
        assembler = ColumnAssembler(rule, source.mapping.rules, NormalisationReport(), problems, _TODAY)
        by_column = assembler.subjects(chunk, assembler.read(chunk), len(chunk))
        assert list(by_column) == by_row
        assert problems.counts == source.problems.counts
        assert problems.of(RowFault.UNEXPLAINED_MARK) == _ODD
        assert [item.line for item in problems.listed] == [item.line for item in source.problems.listed]


def test_the_markers_of_every_row_of_a_subject_hold(opened: Opened) -> None:
    people: Rows = [("p0", "Lee", ""), ("p1", "Roe", "no"), ("p0", "Lee-Ray", "refuge"), ("p0", "Lee", "0")]
    with opened(people, [("C1", "p0", "", "", "x"), ("C2", "p1", "", "", "x")]) as source:
        subject = source.subject(SubjectId("p0"))
        assert subject is not None and subject.markers == {"refuge", "restricted"}
        assert subject.identities[0].fields["family_name"].startswith("LEE")
        (record,) = source.records_for(SubjectId("p0"))
        assert record.markers == {"refuge", "restricted"}
        (other,) = source.records_for(SubjectId("p1"))
        assert other.markers == frozenset()


def _check(folder: Path, markers: str, cells: str = "1,\n") -> tuple[str, dict[str, object]]:
    (folder / "p.csv").write_text("id,flag\n" + cells)
    (folder / "m.toml").write_text(
        '[source]\n[people]\ntable = "p.csv"\nsubject_id = "id"\n[people.fields]\nfamily_name = "flag"\n'
        'given_names = { constant = "Ann" }\ntown = { constant = "Leeds" }\nsex = { constant = "F" }\n'
        + markers
    )
    text, _ = run_check(folder / "m.toml", today=_TODAY)
    return text, json.loads(run_check(folder / "m.toml", as_json=True, today=_TODAY)[0])


_WITHHELD = "built in: everything under it is withheld by every policy"


@pytest.mark.parametrize(
    ("marker", "built_in", "effect"),
    [
        ("refuge", True, _WITHHELD),
        ("received", True, _WITHHELD),
        ("restricted", False, f"not {_WITHHELD} that does not name it"),
        ("refugee", False, f'not {_WITHHELD} that does not name it; did you mean "refuge"?'),
        ("safe-address", False, f'not {_WITHHELD} that does not name it; did you mean "safe_address"?'),
        (
            "Safe Address",
            False,
            "not built in, and no policy can name it: everything under it is withheld; "
            'did you mean "safe_address"?',
        ),
    ],
)
def test_the_check_says_what_each_marker_does(
    tmp_path: Path, marker: str, built_in: bool, effect: str
) -> None:
    text, as_json = _check(tmp_path, f'[[people.markers]]\nmarker = "{marker}"\ncolumn = "flag"\n')
    assert f"  {marker} is {effect}\n" in text
    assert as_json["marker_effects"] == [{"marker": marker, "built_in": built_in, "effect": effect}]


def test_the_check_tells_the_place_of_an_unexplained_cell_and_not_the_cell(tmp_path: Path) -> None:
    markers = '[[people.markers]]\nmarker = "refuge"\ncolumn = "flag"\nvalues = ["Y"]\n'
    text, as_json = _check(tmp_path, markers, "1,Y\n2,Zebedee\n3,n\n")
    assert "p.csv line 3, column flag: the cell is none of the marker's values and none that says no" in text
    assert "marker refuge: 2 subjects" in text
    assert "unmarked_values" in text
    assert as_json["rows_lost"] == 0 and as_json["problems_total"] == 1
    assert "Zebedee" not in text + json.dumps(as_json)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('values = ["Y"]\nunmarked_value = ["x"]', 'is not a known key; did you mean "unmarked_values"'),
        ('unmarked_values = ["x"]', "needs values beside it"),
        ('values = ["Y"]\nunmarked_values = ["y "]', "both values and unmarked_values"),
        ('values = [" "]', "spaces only"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    text = '[source]\n[people]\ntable = "p"\nsubject_id = "id"\nfields = { family_name = "flag" }\n'
    marker = f'[[people.markers]]\nmarker = "refuge"\ncolumn = "flag"\n{keys}\n'
    (tmp_path / "m.toml").write_text(text + marker)
    with pytest.raises(MappingError, match=message):
        load_mapping(tmp_path / "m.toml")
