"""Rows that a source leaves out are told in the log, also while one subject's records are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agency_node.mapping import load_mapping
from agency_node.mapping_check import run_check
from agency_node.sources import JoinedSource, RowFault, open_source
from agency_node.subjects import SubjectId

_TODAY = date(2026, 1, 1)
_MAPPING = """
[source]
[people]
table = "people.csv"
subject_id = "id"
fields = { family_name = "surname" }
[[people.aliases]]
table = "aliases.csv"
subject_id = "id"
fields = { family_name = "alias" }
[[records]]
record_type = "call"
table = "calls.csv"
record_id = "call"
subject_id = "id"
"""


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], JoinedSource]:
    (tmp_path / "m.toml").write_text(_MAPPING)
    (tmp_path / "people.csv").write_text("id,surname\n1,Lee\n2,Secret,x\n,Secret\n1,Secret\n")
    (tmp_path / "aliases.csv").write_text("id,alias\n1\n")
    (tmp_path / "calls.csv").write_text("call,id\nC1,1\nC2\n,1\n")
    return lambda: open_source(load_mapping(tmp_path / "m.toml"), today=_TODAY)


def _told(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, ...]]:
    assert "Secret" not in str(logs)
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    return [
        (entry["table"], entry["line"], entry["reason"])
        if entry["event"] == "row left out"
        else (entry["table"], entry["reason"], entry["rows"])
        for entry in logs
    ]


def test_each_table_is_told_once_when_it_was_read(opened: Callable[[], JoinedSource]) -> None:
    with opened() as source:
        with capture_logs() as logs:
            assert len(list(source.subjects())) == 1
        assert _told(logs) == [
            ("aliases.csv", 2, "too-few-cells"),
            ("aliases.csv", "too-few-cells", 1),
            ("people.csv", 3, "too-many-cells"),
            ("people.csv", 4, "no-subject-id"),
            ("people.csv", 5, "duplicate-subject-id"),
            ("people.csv", "too-many-cells", 1),
            ("people.csv", "no-subject-id", 1),
            ("people.csv", "duplicate-subject-id", 1),
        ]
        assert source.problems.in_table("people.csv").lost_of_nobody() == 2
        with capture_logs() as logs:
            list(source.subjects())
        assert logs == []


def test_records_of_one_subject_that_are_left_out_are_told(opened: Callable[[], JoinedSource]) -> None:
    with opened() as source:
        with capture_logs() as logs:
            assert [record.record_id for record in source.records_for(SubjectId("1"))] == ["C1"]
        told = _told(logs)
        assert ("calls.csv", 3, "too-few-cells") in told
        assert ("calls.csv", 4, "no-record-id") in told
        assert ("people.csv", 3, "too-many-cells") in told
        with capture_logs() as logs:
            source.records_for(SubjectId("1"))
        assert _told(logs) == [("calls.csv", 4, "no-record-id"), ("calls.csv", "no-record-id", 1)]


def test_a_table_full_of_bad_rows_does_not_fill_the_log(
    tmp_path: Path, opened: Callable[[], JoinedSource]
) -> None:
    (tmp_path / "people.csv").write_text("id,surname\n" + "2\n" * 5_000)
    with opened() as source, capture_logs() as logs:
        list(source.subjects())
    assert len(logs) < 50
    assert ("people.csv", str(RowFault.TOO_FEW_CELLS), 5_000) in _told(logs)


def test_the_check_shows_them_instead(tmp_path: Path, opened: Callable[[], JoinedSource]) -> None:
    opened().close()
    with capture_logs() as logs:
        text, code = run_check(tmp_path / "m.toml", today=_TODAY)
    assert (logs, code) == ([], 1)
    assert "calls.csv line 3" in text
