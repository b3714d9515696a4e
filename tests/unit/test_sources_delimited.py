"""Delimited files: every row is read or reported, whatever is wrong with it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agency_node.mapping import CsvSettings
from agency_node.sources import Problem, RowFault, SourceError, SourceStructureError
from agency_node.sources.delimited import read_delimited
from agency_node.sources.rows import RawRow


def _read(
    folder: Path, data: bytes, columns: tuple[str, ...] = ("id", "name"), **options: str
) -> tuple[list[RawRow], list[Problem]]:
    (folder / "t.csv").write_bytes(data)
    problems: list[Problem] = []
    rows = list(read_delimited(CsvSettings(folder, **options), "t.csv", columns, problems.append))
    return rows, problems


@pytest.mark.parametrize(
    ("data", "lines", "faults"),
    [
        (b"id,name\n1,a\n2,b\n", [2, 3], []),
        (b"\xef\xbb\xbfid,name\r\n1,a\r\n", [2], []),
        (b"id, name\n1, a\n", [2], []),
        (b"id,name\n\n1,a\n\n", [3], []),
        (b"id,name\n1,a,x\n2,b\n", [3], [(2, "", RowFault.TOO_MANY_CELLS)]),
        (b"id,name\n1\n2,b\n", [3], [(2, "", RowFault.TOO_FEW_CELLS)]),
        (b"id,name\n1,Andr\xe9\n2,b\n", [3], [(2, "name", RowFault.BAD_ENCODING)]),
        (b"id,name\n1,a\0b\n2,b\n", [3], [(2, "name", RowFault.NUL_CHARACTER)]),
        (b'id,name\n1,"two\nlines"\n2,b\n', [2, 4], []),
        (b'id,name\n1,"open\n2,b\n3,c\n', [3, 4], [(2, "", RowFault.UNCLOSED_QUOTE)]),
        (b'id,name\n1,"open\n2,"b"\n3,c\n', [3, 4], [(2, "", RowFault.UNCLOSED_QUOTE)]),
        (b'id,name\n1,"a"b\n2,b\n', [3], [(2, "", RowFault.BAD_QUOTING)]),
        (b'id,name\n1,6" pipe\n2,b\n', [2, 3], []),
        (
            b'id,name\n1,"open\n"2",b,\n3,c\n',
            [4],
            [(2, "", RowFault.UNCLOSED_QUOTE), (3, "", RowFault.TOO_MANY_CELLS)],
        ),
    ],
)
def test_rows_and_faults(
    tmp_path: Path, data: bytes, lines: list[int], faults: list[tuple[int, str, RowFault]]
) -> None:
    rows, problems = _read(tmp_path, data)
    assert [row.line for row in rows] == lines
    assert [(problem.line, problem.column, problem.reason) for problem in problems] == faults
    assert all("Andr" not in problem.render() for problem in problems)


def test_windows_text_and_other_delimiters(tmp_path: Path) -> None:
    rows, problems = _read(tmp_path, b"id;name\n1;Andr\xe9\n", encoding="cp1252", delimiter=";")
    assert rows[0].cells["name"] == "André"
    assert not problems
    assert "Andr" not in repr(rows[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"id,nme\n1,a\n", 'no column "name"; did you mean "nme"'),
        (b"id;name\n1;a\n", "perhaps the delimiter is ';'"),
        (b"id,name,name\n1,a,b\n", '"name" twice'),
    ],
)
def test_headers_that_do_not_fit(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(SourceStructureError) as caught:
        _read(tmp_path, data)
    assert message in str(caught.value)


def test_a_table_is_a_file_inside_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret.csv").write_text("id,name\n1,a\n")
    (inner / "people.csv").write_text("id,name\n1,a\n")
    with pytest.raises(SourceStructureError, match="outside the source folder"):
        list(read_delimited(CsvSettings(inner), "../secret.csv", ("id",), lambda _: None))
    with pytest.raises(SourceError, match=r'did you mean "people\.csv"'):
        list(read_delimited(CsvSettings(inner), "peple.csv", ("id",), lambda _: None))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.tuples(
            st.text("ab,\"'\n\r é", max_size=12).map(str.strip),
            st.text("ab,\"'\n\r é", max_size=12).map(str.strip),
        ),
        max_size=8,
    )
)
def test_what_csv_writes_is_read_back(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([("id", "name"), *cells])
    rows, problems = _read(tmp_path, out.getvalue().encode())
    assert not problems
    assert [(row.cells["id"], row.cells["name"]) for row in rows] == cells


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(st.sampled_from([b"1", b",", b'"', b"\n", b"\r\n", b"\xe9", b"x", b"\0"]), max_size=40))
def test_no_line_with_text_is_lost_in_silence(tmp_path: Path, body: list[bytes]) -> None:
    data = b"id,name\n" + b"".join(body)
    rows, problems = _read(tmp_path, data)
    starts = sorted([row.line for row in rows] + [problem.line for problem in problems])
    lines = data.decode(errors="surrogateescape").replace("\r\n", "\n").split("\n")
    assert len(starts) == len(set(starts))
    # a line that begins no row and no problem is blank, or is inside a row that spans lines
    spans = {row.line: sum(cell.count("\n") for cell in row.cells.values()) for row in rows}
    accounted = {line + extra for line, span in spans.items() for extra in range(span + 1)}
    for problem in problems:
        ends = problem.detail.removeprefix("the row ends on line ")
        last = int(ends) if ends != problem.detail else problem.line
        accounted |= set(range(problem.line, last + 1))
    assert all(
        number in accounted or number == 1 for number, line in enumerate(lines, start=1) if line.strip("\r")
    )
