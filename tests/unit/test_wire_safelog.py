"""Logs carry codes and counts; what could be personal data is replaced, whoever logs it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from protos.wire.safelog import FORBIDDEN_KEYS, configure_logging


@pytest.fixture(autouse=True)
def _structlog_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_forbidden_keys_are_redacted_and_the_rest_stays(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    values = dict.fromkeys(FORBIDDEN_KEYS, "SUSAN-1979-LS1")
    structlog.get_logger().info("uploaded", rows=7, linkage="people", **values)
    line = json.loads(capsys.readouterr().err)
    assert (line["rows"], line["linkage"], line["event"]) == (7, "people", "uploaded")
    assert "SUSAN" not in json.dumps(line)


def test_the_place_of_a_lost_row_and_the_reason_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    place = {
        "table": "people.csv",
        "line": 7,
        "column": "dob",
        "reason": "bad-encoding",
        "detail": "",
        "rows": 1,
    }
    structlog.get_logger().warning("row left out", **place)
    line = json.loads(capsys.readouterr().err)
    assert {key: line[key] for key in place} == place


def test_exceptions_are_logged_without_their_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    try:
        raise ValueError("SUSAN lives at 1 High Street")
    except ValueError:
        structlog.get_logger().exception("failed")
    line = json.loads(capsys.readouterr().err)
    assert line["error"] == "ValueError"
    assert any("test_wire_safelog.py" in place for place in line["places"])
    assert "SUSAN" not in json.dumps(line)
