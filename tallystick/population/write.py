"""Writes an agency's export as a folder of CSV files, and the truth as a file of its own elsewhere.

Rows are written as they are made, so that memory holds the population but never an agency's export. The
same population gives the same bytes. CSV is UTF-8 with ``\\n`` line ends and a heading line. The mapping
file that a node reads it by lies beside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Final, Protocol

from tallystick.population.layouts import (
    ADDRESS_KEYS,
    LAYOUTS,
    MARKER_KEYS,
    NAME_KEYS,
    PLACE_KEYS,
    PLACE_RECORDS_FILE,
    RECORD_FILES,
    RECORD_KEYS,
    SUBJECT_KEYS,
    Layout,
)
from tallystick.population.mappings import MAPPING_FILE, mapping_toml
from tallystick.population.model import (
    AGENCIES,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    AgencyId,
    HeldAddress,
    HeldRecord,
    HeldSubject,
    Population,
    PopulationError,
)
from tallystick.population.records import RECORD_FIELDS, RECORD_TYPES
from tallystick.population.story import STORY_PLACE_ID, story_addresses
from tallystick.population.views import HABITS, held_subjects, place_records, subject_ids

TRUTH_FILE: Final = "truth.csv"
_NO_ADDRESS: Final = ("", "", "", "", "", "")


class _Rows(Protocol):
    def writerow(self, row: Iterable[object], /) -> object: ...


def write_agency(population: Population, agency: AgencyId, folder: Path) -> None:
    """Writes the agency's export and its ``mapping.toml`` into ``folder``, which is made if need be.

    Raises PopulationError if the folder holds a truth file, and OSError as the file system does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TRUTH_FILE).exists():
        raise PopulationError(
            f"{folder} holds {TRUTH_FILE}: an agency must not see it. Choose another folder."
        )
    (folder / MAPPING_FILE).write_text(mapping_toml(agency), encoding="utf-8", newline="\n")
    with ExitStack() as stack:
        export = _Export(agency, folder, stack)
        for subject in held_subjects(population, agency):
            export.subject(subject)
        for record in place_records(population, agency):
            export.place_record(record)


def write_truth(population: Population, folder: Path) -> Path:
    """Writes ``truth.csv`` (person id, agency, the agency's subject id), for scoring only; returns its path.

    Raises PopulationError if the folder looks like an agency's export.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any((folder / layout.subjects_file).exists() for layout in LAYOUTS.values()):
        raise PopulationError(f"{folder} is an agency's folder: the truth must be kept apart from it.")
    path = folder / TRUTH_FILE
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("person_id", "agency", "subject_id"))
        for agency in AGENCIES:
            rows.writerows((person, agency, subject) for person, subject in subject_ids(population, agency))
    return path


def _marked(markers: tuple[str, ...]) -> list[str]:
    return ["yes" if marker in markers else "" for marker in MARKER_KEYS]


class _Export:
    """The open files of one agency's export."""

    def __init__(self, agency: AgencyId, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._layout: Layout = LAYOUTS[agency]
        self._subjects = self._open(self._layout.subjects_file, SUBJECT_KEYS)
        self._names = self._open(self._layout.names_file, NAME_KEYS)
        self._addresses = self._open(self._layout.addresses_file, ADDRESS_KEYS)
        self._places = self._open(self._layout.places_file, PLACE_KEYS)
        self._records = {
            kind: self._open(RECORD_FILES[kind], (*RECORD_KEYS, *RECORD_FIELDS[kind]))
            for kind in RECORD_TYPES[agency]
        }
        if agency in (NORTHMOOR_POLICE, SOUTHVALE_POLICE):
            self._place_records = self._open(PLACE_RECORDS_FILE, (*RECORD_KEYS, *RECORD_FIELDS["incident"]))
        self._prefix = f"{HABITS[agency].prefix}-PL"
        self._dates: dict[date, str] = {}  # strftime is slow and days repeat
        self._place_ids: dict[int, str] = {}
        self._given_place_ids = {
            story_addresses()[name].key: place_id
            for (owner, name), place_id in STORY_PLACE_ID.items()
            if owner == agency
        }

    def subject(self, subject: HeldSubject) -> None:
        nhs = subject.nhs_number
        if nhs and self._layout.spaced_nhs_number:
            nhs = f"{nhs[:3]} {nhs[3:6]} {nhs[6:]}"
        self._subjects.writerow(
            (
                subject.subject_id,
                subject.given,
                subject.middle,
                subject.family,
                self._date(date.fromisoformat(subject.born)) if subject.born else "",
                self._layout.sex_words.get(subject.sex, ""),
                nhs,
                subject.phone,
                subject.email,
                *(self._address(subject.address) if subject.address else _NO_ADDRESS),
                subject.consent,
                *_marked(subject.markers),
            )
        )
        for name in subject.other_names:
            self._names.writerow((subject.subject_id, name.given, name.family, name.kind))
        for address in subject.former_addresses:
            self._addresses.writerow((subject.subject_id, *self._address(address)))
        for record in subject.records:
            self._records[record.record_type].writerow(self._record(record))

    def place_record(self, record: HeldRecord) -> None:
        self._place_records.writerow(self._record(record))

    def _open(self, name: str, keys: Sequence[str]) -> _Rows:
        file = self._stack.enter_context((self._folder / name).open("w", encoding="utf-8", newline=""))
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([self._layout.heading(key) for key in keys])
        return rows

    def _date(self, day: date) -> str:
        text = self._dates.get(day)
        if text is None:
            text = self._dates[day] = day.strftime(self._layout.date_format)
        return text

    def _address(self, address: HeldAddress) -> tuple[str, ...]:
        return (
            address.house,
            address.street,
            address.town,
            address.postcode,
            address.uprn,
            self._place_id(address),
        )

    def _place_id(self, address: HeldAddress) -> str:
        """The agency's own number of a place; a place that it meets for the first time gets a row."""
        place_id = self._place_ids.get(address.key)
        if place_id is None:
            place_id = (
                self._given_place_ids.get(address.key) or f"{self._prefix}-{len(self._place_ids) + 1:07d}"
            )
            self._place_ids[address.key] = place_id
            self._places.writerow(
                (place_id, address.house, address.street, address.town, address.postcode, address.uprn)
            )
        return place_id

    def _record(self, record: HeldRecord) -> list[str]:
        return [
            record.record_id,
            record.subject_id,
            self._place_id(record.place) if record.place else "",
            self._date(record.occurred),
            record.consent,
            *_marked(record.markers),
            *(record.fields[name] for name in RECORD_FIELDS[record.record_type]),
        ]
