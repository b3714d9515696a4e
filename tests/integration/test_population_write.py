"""The exports as files: the same bytes for a seed, the story in each, and the truth in none."""

import csv
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from agency_node.mapping import CsvSettings, load_mapping
from tallystick.population import (
    AGENCIES,
    ALAN,
    HAVEN_CHARITY,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    STORY,
    SUSAN,
    TRUTH_FILE,
    VALE_NHS,
    AgencyId,
    Population,
    PopulationError,
    generate,
    write_agency,
    write_truth,
)
from tallystick.population.layouts import LAYOUTS, PLACE_RECORDS_FILE, RECORD_FILES
from tallystick.population.mappings import MAPPING_FILE
from tallystick.population.records import RECORD_TYPES
from tallystick.population.story import story_addresses

PEOPLE = 200


@pytest.fixture(scope="module")
def population() -> Population:
    return generate(PEOPLE, 5)


@pytest.fixture(scope="module")
def exports(population: Population, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("exports")
    for agency in AGENCIES:
        write_agency(population, agency, folder / agency)
    yield folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def subjects(exports: Path, agency: AgencyId) -> dict[str, dict[str, str]]:
    layout = LAYOUTS[agency]
    found = rows(exports / agency / layout.subjects_file)
    return {row[layout.heading("subject_id")]: row for row in found}


def all_records(exports: Path, agency: AgencyId) -> dict[str, dict[str, str]]:
    files = [RECORD_FILES[kind] for kind in RECORD_TYPES[agency]]
    if agency in (NORTHMOOR_POLICE, SOUTHVALE_POLICE):
        files.append(PLACE_RECORDS_FILE)
    found = [row for file in files for row in rows(exports / agency / file)]
    by_id = {row["record_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def digest(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("agency", AGENCIES)
def test_same_seed_same_bytes(exports: Path, tmp_path: Path, agency: AgencyId) -> None:
    write_agency(generate(PEOPLE, 5), agency, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(exports / agency)


def test_an_agency_is_written_alike_whatever_was_written_before(
    population: Population, exports: Path, tmp_path: Path
) -> None:
    write_agency(population, VALE_NHS, tmp_path)
    assert digest(tmp_path) == digest(exports / VALE_NHS)


@pytest.mark.parametrize("agency", AGENCIES)
def test_exports_hold_everybody_once_and_only_references_that_resolve(
    exports: Path, agency: AgencyId
) -> None:
    layout = LAYOUTS[agency]
    own = subjects(exports, agency)
    assert len(own) == PEOPLE
    places = {row[layout.heading("place_id")] for row in rows(exports / agency / layout.places_file)}
    for file in (layout.names_file, layout.addresses_file):
        assert {row[layout.heading("subject_id")] for row in rows(exports / agency / file)} <= own.keys()
    for row in (*own.values(), *rows(exports / agency / layout.addresses_file)):
        assert row[layout.heading("place_id")] in places | {""}
    for record in all_records(exports, agency).values():
        assert record[layout.heading("subject_id")] in own.keys() | {""}
        assert record[layout.heading("place_id")] in places | {""}
        assert record[layout.heading("subject_id")] or record[layout.heading("place_id")]


@pytest.mark.parametrize("agency", AGENCIES)
def test_every_agency_has_its_part_of_the_story(exports: Path, agency: AgencyId) -> None:
    own = subjects(exports, agency)
    assert STORY.subjects[SUSAN][agency] in own
    assert (agency in STORY.subjects[ALAN]) == (agency != HAVEN_CHARITY)
    written = all_records(exports, agency)
    for event in STORY.timeline:
        if event.agency == agency:
            assert written[event.record_id]["summary"] == event.summary
            subject = STORY.subjects[event.person][agency] if event.person else ""
            assert written[event.record_id][LAYOUTS[agency].heading("subject_id")] == subject


def test_susan_differs_between_agencies_as_in_life(exports: Path) -> None:
    def cells(agency: AgencyId, *keys: str) -> tuple[str, ...]:
        row = subjects(exports, agency)[STORY.subjects[SUSAN][agency]]
        return tuple(row[LAYOUTS[agency].heading(key)] for key in keys)

    assert cells(NORTHMOOR_POLICE, "given", "family", "born", "nhs_number") == (
        "Susan",
        "Marsden",
        "07/04/1986",
        "",
    )
    assert cells(SOUTHVALE_POLICE, "given", "family", "born") == ("Sue", "Marsden", "1986-07-04")
    assert cells(VALE_NHS, "family", "born", "nhs_number") == ("Ashworth", "19860407", "999 041 7865")
    assert cells(HAVEN_CHARITY, "given", "born", "consent") == ("Susie", "07-Apr-1986", "given")


def test_the_fire_names_nobody_and_its_place_is_no_address_that_the_police_have_of_her(exports: Path) -> None:
    fire = all_records(exports, NORTHMOOR_POLICE)[STORY.arson_record]
    assert fire["nominal_id"] == ""
    assert fire["category"] == "arson"
    assert fire["location_id"] == STORY.arson_place
    foundry = story_addresses()["foundry"]
    for agency in (NORTHMOOR_POLICE, SOUTHVALE_POLICE):
        layout = LAYOUTS[agency]
        people = subjects(exports, agency).values()
        known = [*people, *rows(exports / agency / layout.addresses_file)]
        assert all(row["uprn"] != foundry.uprn for row in known)
    patients = rows(exports / VALE_NHS / LAYOUTS[VALE_NHS].addresses_file)
    assert any(row["uprn"] == foundry.uprn for row in patients)


def test_only_the_charity_ever_holds_the_refuge_and_marks_it(exports: Path) -> None:
    refuge = story_addresses()["refuge"]
    for agency in AGENCIES:
        text = "".join(path.read_text(encoding="utf-8") for path in (exports / agency).iterdir())
        assert (refuge.uprn in text) == (agency == HAVEN_CHARITY)
    stay = next(row for row in all_records(exports, HAVEN_CHARITY).values() if refuge.postcode in str(row))
    assert stay["record_id"] == "TEN-9000001"
    assert (stay["refuge"], stay["safe_address"], stay["restricted"]) == ("yes", "yes", "")
    assert stay["consent_to_share"] == "refused"


@pytest.mark.parametrize("agency", AGENCIES)
def test_the_mapping_file_names_only_columns_that_exist(exports: Path, agency: AgencyId) -> None:
    mapping = load_mapping(exports / agency / MAPPING_FILE)
    assert isinstance(mapping.source, CsvSettings)
    assert {rule.subject_type for rule in mapping.subjects} == {"person", "place"}
    assert {rule.record_type for rule in mapping.records} == set(RECORD_TYPES[agency])
    read = [(rule.main.table, rule.main.columns) for rule in mapping.subjects]
    read += [(more.table.table, more.table.columns) for rule in mapping.subjects for more in rule.further]
    read += [(rule.table, rule.columns) for rule in mapping.records]
    for table, columns in read:
        with (mapping.source.folder / table).open(encoding="utf-8", newline="") as file:
            assert set(columns) <= set(next(csv.reader(file)))


def test_alan_was_never_charged() -> None:
    outcomes = {event.summary for event in STORY.of(ALAN)}
    assert len(STORY.of(ALAN)) >= 4
    assert not any("charged" in text for text in outcomes)


def test_the_truth_is_kept_apart(population: Population, exports: Path, tmp_path: Path) -> None:
    assert not list(exports.rglob(TRUTH_FILE))
    path = write_truth(population, tmp_path / "truth")
    truth = rows(path)
    assert len(truth) == PEOPLE * len(AGENCIES)
    for agency in AGENCIES:
        of_agency = [row for row in truth if row["agency"] == agency]
        assert {row["subject_id"] for row in of_agency} == subjects(exports, agency).keys()
        susan = [row["subject_id"] for row in of_agency if row["person_id"] == str(SUSAN)]
        assert susan == [STORY.subjects[SUSAN][agency]]
        for file in (exports / agency).glob("*.csv"):
            assert "person_id" not in file.read_text(encoding="utf-8").splitlines()[0].split(",")
    with pytest.raises(PopulationError, match="kept apart"):
        write_truth(population, exports / VALE_NHS)
    with pytest.raises(PopulationError, match="must not see it"):
        write_agency(population, VALE_NHS, tmp_path / "truth")
