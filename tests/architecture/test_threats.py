"""Every threat in docs/THREATS.md names code that exists and a test that exists, or is said to be open."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/THREATS.md").read_text("utf-8")
HEADER = ["threat", "control", "enforced in", "default", "test"]


@dataclass(frozen=True, slots=True)
class Row:
    """One threat."""

    threat: str
    control: str
    where: str
    default: str
    tests: str


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _rows() -> list[Row]:
    lines = [_cells(line) for line in PAGE.splitlines() if line.startswith("|")]
    return [Row(*cells) for cells in lines if cells != HEADER and not set("".join(cells)) <= {"-"}]


ROWS = _rows()


@functools.cache
def _tests_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_the_tables_are_whole() -> None:
    assert len(ROWS) > 40
    headings = [_cells(line) for line in PAGE.splitlines() if line.startswith("| threat")]
    assert headings
    assert all(heading == HEADER for heading in headings)
    assert len({row.threat for row in ROWS}) == len(ROWS)
    assert all(row.control and row.where and row.default for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat[:60])
def test_a_threat_names_tests_that_exist(row: Row) -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row.tests)
    if not named:
        assert row.tests == "not solved", f"{row.threat}: names no test"
        assert row.control.startswith("Not solved"), f"{row.threat}: does not explain why"
    for file, test in named:
        path = ROOT / "tests" / file
        assert path.is_file(), f"{row.threat}: there is no tests/{file}"
        assert test in _tests_in(path), f"{row.threat}: there is no {test} in tests/{file}"
    # Nothing but tests and the words 'not solved' with a reason may stand in the column.
    rest = re.sub(r"`[^`]+`|,| ", "", row.tests)
    assert rest in ("", "notsolved", "notsolved;measured:", "notsolved;whatcanbeseen:"), row.tests
    assert rest == "" or row.control.startswith("Not solved")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat[:60])
def test_a_threat_names_code_that_exists(row: Row) -> None:
    places = re.findall(r"`([^`]+)`", row.where)
    assert places
    for place in places:
        assert (ROOT / place).exists(), f"{row.threat}: there is no {place}"


def test_the_threats_that_governance_must_cover_are_there() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert {
        "A curious broker",
        "A malicious broker",
        "A malicious or faulty node",
        "People",
        "Mistakes",
    } <= set(headings)
    for word in (
        "insider",
        "collude",
        "stolen",
        "coerced",
        "rewrites the audit",
        "work at an agency",
        "dependency",
    ):
        assert any(word in row.threat for row in ROWS), word


@pytest.mark.parametrize(
    ("who", "section", "words"),
    [
        ("a malicious broker", "A malicious broker", ""),
        ("a malicious node", "A malicious or faulty node", ""),
        ("an insider investigator", "People", "insider looks up"),
        ("colluding requester and approver", "People", "Requester and approver collude"),
        ("a stolen officer key", "People", "officer's key is stolen"),
        ("an administrator who rewrites the audit", "People", "rewrites the audit"),
        ("the perpetrator who works at an agency", "The person who causes the harm", "work at an agency"),
    ],
)
def test_whoever_governance_must_withstand_has_rows_that_name_tests(
    who: str, section: str, words: str
) -> None:
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [row for row in ROWS if f"| {row.threat} |" in text and words in row.threat]
    assert rows, who
    assert any("::test_" in row.tests and row.tests.startswith("`") for row in rows), who


def test_reporting_is_explained_where_contributors_are_sent() -> None:
    assert "THREATS.md#reporting" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert re.search(r"^## Reporting$", PAGE, re.MULTILINE)
    assert "private security advisory" in " ".join(PAGE.split())
