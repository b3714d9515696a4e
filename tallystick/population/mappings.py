"""The mapping file of each agency's export, in the form that ``agency_node.mapping`` reads.

Made from the layout, so that export and mapping cannot drift apart.
"""

from __future__ import annotations

from typing import Final

import tomli_w

from tallystick.population.layouts import (
    LAYOUTS,
    MARKER_KEYS,
    PLACE_RECORDS_FILE,
    RECORD_FILES,
    Layout,
)
from tallystick.population.model import NORTHMOOR_POLICE, SOUTHVALE_POLICE, AgencyId, RecordType
from tallystick.population.records import RECORD_FIELDS, RECORD_TYPES

MAPPING_FILE: Final = "mapping.toml"

_Toml = dict[str, object]
_ADDRESS_FIELDS: Final = ("house", "street", "town", "postcode", "uprn")


def mapping_toml(agency: AgencyId) -> str:
    """The mapping file of one agency as text; it expects the export in the folder where it lies."""
    layout = LAYOUTS[agency]
    records = [_records(layout, kind, RECORD_FILES[kind], "person") for kind in RECORD_TYPES[agency]]
    if agency in (NORTHMOOR_POLICE, SOUTHVALE_POLICE):
        records.append(_records(layout, "incident", PLACE_RECORDS_FILE, "place"))
    document: _Toml = {
        "source": {"kind": "csv", "folder": ".", "encoding": "utf-8", "on_bad_row": "refuse"},
        "rules": {"formats": [layout.date_format]},
        "people": _people(layout),
        "places": {
            "table": layout.places_file,
            "subject_id": layout.heading("place_id"),
            "fields": _columns(layout, *_ADDRESS_FIELDS),
        },
        "records": records,
    }
    return tomli_w.dumps(document)


def _people(layout: Layout) -> _Toml:
    subject_id = layout.heading("subject_id")
    return {
        "table": layout.subjects_file,
        "subject_id": subject_id,
        "fields": {
            "given_names": {"columns": [layout.heading("given"), layout.heading("middle")]},
            "family_name": layout.heading("family"),
            "date_of_birth": layout.heading("born"),
            **_columns(layout, "sex", "nhs_number", "phone", "email", *_ADDRESS_FIELDS),
        },
        # A marker on a person would withhold every record about her; here each record bears its own.
        "aliases": [
            {
                "table": layout.names_file,
                "subject_id": subject_id,
                "fields": {"given_names": layout.heading("given"), "family_name": layout.heading("family")},
            }
        ],
        "former_addresses": [
            {
                "table": layout.addresses_file,
                "subject_id": subject_id,
                "fields": _columns(layout, *_ADDRESS_FIELDS),
            }
        ],
    }


def _records(layout: Layout, kind: RecordType, table: str, subject_type: str) -> _Toml:
    return {
        "record_type": kind,
        "subject_type": subject_type,
        "table": table,
        "record_id": "record_id",
        "subject_id": layout.heading("subject_id" if subject_type == "person" else "place_id"),
        "occurred": "occurred",
        "fields": _columns(layout, "consent", *RECORD_FIELDS[kind]),
        "markers": _markers(layout),
    }


def _columns(layout: Layout, *keys: str) -> dict[str, object]:
    return {key: layout.heading(key) for key in keys}


def _markers(layout: Layout) -> list[dict[str, str]]:
    return [{"marker": marker, "column": layout.heading(marker)} for marker in MARKER_KEYS]
