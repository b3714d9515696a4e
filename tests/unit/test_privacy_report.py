"""The report as a whole: gates, hash, page, command line, and the refusal of live data."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.encoding import default_section, schema_hash
from crypto.canonical import JsonValue, parse_canonical
from tallystick.population import NORTHMOOR_POLICE, generate, write_agency
from tallystick.privacy.cli import privacy_app
from tallystick.privacy.data import read_held_out
from tallystick.privacy.errors import LiveDataError, PrivacyReportError
from tallystick.privacy.render import render_page, render_section
from tallystick.privacy.report import PrivacyReport, Settings, privacy_report

SMALL = Settings(
    rows=400, graph_rows=60, cost_rows=100, seed=3, pairs=(20, 60), overlaps=(100, 50), repeats=1
)
TODAY = date(2026, 11, 1)


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_matrices() -> Iterator[None]:
    """Test workers fill the cores already; more threads for small matrices only get in each other's way."""
    with import_module("threadpoolctl").threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def report() -> PrivacyReport:
    return privacy_report(default_section("person"), SMALL)


@pytest.fixture(scope="module")
def plain_report() -> PrivacyReport:
    return privacy_report(unhardened(default_section("person")), SMALL)


def unhardened(section: dict[str, JsonValue]) -> dict[str, JsonValue]:
    section = copy.deepcopy(section)
    projections = section["projections"]
    assert isinstance(projections, list)
    for projection in projections:
        assert isinstance(projection, dict)
        projection["hardening"] = {"kind": "plain/v1"}
    return section


def test_hash_is_of_the_canonical_file(report: PrivacyReport) -> None:
    data = report.to_bytes()
    value = parse_canonical(data)
    assert isinstance(value, dict)
    assert report.digest == hashlib.sha256(data).hexdigest()
    assert value["schema_hash"] == schema_hash(default_section("person")) == report.schema_hash
    assert value["verdict"] == report.verdict


def test_report_is_repeatable_and_follows_the_seed(report: PrivacyReport) -> None:
    assert privacy_report(default_section("person"), SMALL).digest == report.digest
    other = Settings(rows=400, graph_rows=60, cost_rows=100, seed=4, pairs=(20, 60), overlaps=(100, 50))
    assert privacy_report(default_section("person"), other).digest != report.digest


def test_plain_encodings_fail_and_say_what_to_do(plain_report: PrivacyReport) -> None:
    assert plain_report.verdict == "fail"
    failed = [gate for gate in plain_report.gates if gate.outcome == "fail"]
    assert {gate.attack[:2] for gate in failed} >= {"A1", "A3"}
    assert all(gate.reason and gate.advice for gate in failed)
    assert plain_report.targets[0].control is None


def test_hardened_report_shows_its_control(report: PrivacyReport) -> None:
    target = report.targets[0]
    assert target.control is not None
    assert target.control.profile.gini > 0.1 > target.results.profile.gini
    strongest = max(known.top1.share for known in target.control.known_pairs)
    assert strongest > 3 * max(known.top1.share for known in target.results.known_pairs)
    assert [known.knows for known in target.results.known_pairs][::2] == [
        "names",
        "names and addresses",
        "everything that is encoded",
    ]


def test_projections_are_attacked_one_by_one_and_together() -> None:
    section = copy.deepcopy(default_section("person"))
    projections = section["projections"]
    assert isinstance(projections, list)
    narrow = copy.deepcopy(projections[0])
    assert isinstance(narrow, dict)
    narrow["name"] = "narrow"
    schema = narrow["schema"]
    assert isinstance(schema, dict)
    features = schema["features"]
    assert isinstance(features, list)
    schema["features"] = features[:4]
    projections.append(narrow)
    made = privacy_report(section, SMALL, narrow_exceptions=["narrow"])
    assert [target.name for target in made.targets] == ["person", "narrow", "all projections together"]
    top = {
        target.name: max(known.top1.share for known in target.results.known_pairs) for target in made.targets
    }
    assert top["all projections together"] >= top["person"]


def test_places_are_attacked_too() -> None:
    made = privacy_report(default_section("place"), SMALL, narrow_exceptions=["place"])
    assert made.subject_type == "place"
    assert made.tokens[0].name == "uprn"
    assert made.tokens[0].having.share > 0.9


def test_page_is_readable_and_escapes(report: PrivacyReport, plain_report: PrivacyReport) -> None:
    page = render_page(report)
    assert report.digest in page
    assert page.count("<table>") == page.count("</table>")
    assert "data:image/png;base64," in page
    for heading in ("A1: bit profile", "A2: graph matching", "A3: known pairs", "A4:", "A5: pattern mining"):
        assert heading in page
    assert not re.search(r'(?:src|href)="https?:', page)
    assert render_section(report) in page
    assert "Control" not in render_section(plain_report)
    named = privacy_report(default_section("person"), SMALL, held_out_as="<script>")
    assert "<script>" not in render_page(named)


def test_too_little_to_attack_is_refused() -> None:
    with pytest.raises(PrivacyReportError, match="rows: choose between"):
        privacy_report(default_section("person"), Settings(rows=10))
    tokens_only: dict[str, JsonValue] = {**default_section("person"), "projections": []}
    with pytest.raises(PrivacyReportError, match="no projection"):
        privacy_report(tokens_only, SMALL)


def test_held_out_file_is_read_and_a_node_source_refused(tmp_path: Path) -> None:
    folder = tmp_path / "police"
    write_agency(generate(400, 5), NORTHMOOR_POLICE, folder)
    mapping = folder / "mapping.toml"
    table = next(path for path in folder.glob("*.csv") if path.name in mapping.read_text("utf-8"))
    people = max(folder.glob("*.csv"), key=lambda path: path.name in _people_table(mapping))
    with pytest.raises(LiveDataError, match="held-out"):
        read_held_out(people, mapping, 300, 1, held_out_as="", today=TODAY)
    with pytest.raises(LiveDataError, match=re.escape(table.name)):
        read_held_out(table, None, 300, 1, held_out_as="", today=TODAY)
    found = read_held_out(people, mapping, 300, 1, held_out_as="made up for a test", today=TODAY)
    assert len(found) == 300
    assert "family_name" in found.rows[0]
    elsewhere = tmp_path / "testing" / "sample"
    elsewhere.mkdir(parents=True)
    copied = elsewhere / "sample.csv"
    copied.write_text("forename,surname,dob,postcode\nAnn,Example,1980-02-03,LS1 1UR\n", "utf-8")
    assert len(read_held_out(copied, None, 300, 1, held_out_as="", today=TODAY)) == 1


def _people_table(mapping: Path) -> str:
    found = re.search(r'\[people\]\s+table = "([^"]+)"', mapping.read_text("utf-8"))
    assert found
    return found.group(1)


def test_command_line(tmp_path: Path) -> None:
    schema = tmp_path / "agreement.json"
    schema.write_text(json.dumps({"encoding": default_section("person")}), "utf-8")
    size = ["--rows", "400", "--graph-rows", "60", "--hardening", "plain"]
    ran = CliRunner().invoke(
        privacy_app, ["--schema", str(schema), *size, "--json", "--report", str(tmp_path / "out")]
    )
    assert ran.exit_code == 1, ran.stderr
    value = json.loads(ran.stdout)
    assert value["verdict"] == "fail"
    assert (tmp_path / "out" / "privacy-report.json").read_text("utf-8") == ran.stdout.strip()
    assert "Privacy report" in (tmp_path / "out" / "privacy-report.html").read_text("utf-8")
    assert "graph matching at 100" in ran.stderr
    wrong = CliRunner().invoke(privacy_app, ["--mapping", "m.toml"])
    assert wrong.exit_code == 1
    assert "--data" in wrong.stderr
