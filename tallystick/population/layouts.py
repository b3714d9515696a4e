"""How each agency's export looks: its files, its column headings and its date format.

The five differ on purpose, as real exports do, so that each needs a mapping file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.population.model import (
    HAVEN_CHARITY,
    NORTHMOOR_CARE,
    NORTHMOOR_POLICE,
    SOUTHVALE_POLICE,
    VALE_NHS,
    AgencyId,
)

MARKER_KEYS: Final = ("refuge", "safe_address", "restricted")
"""Handling markers, a column each: ``yes`` or empty."""

SUBJECT_KEYS: Final = (
    "subject_id",
    "given",
    "middle",
    "family",
    "born",
    "sex",
    "nhs_number",
    "phone",
    "email",
    "house",
    "street",
    "town",
    "postcode",
    "uprn",
    "place_id",
    "consent",
    *MARKER_KEYS,
)
"""What a row of the subjects' file holds, in this order; a layout gives each its heading."""

NAME_KEYS: Final = ("subject_id", "given", "family", "kind")
ADDRESS_KEYS: Final = ("subject_id", "house", "street", "town", "postcode", "uprn", "place_id")
PLACE_KEYS: Final = ("place_id", "house", "street", "town", "postcode", "uprn")
RECORD_KEYS: Final = ("record_id", "subject_id", "place_id", "occurred", "consent", *MARKER_KEYS)
"""The columns of every record file; those of its record type follow."""


@dataclass(frozen=True, slots=True)
class Layout:
    """File names and headings of one agency. ``headings`` gives the heading of a key where it is not the key
    itself."""

    subjects_file: str
    names_file: str
    addresses_file: str
    places_file: str
    date_format: str
    headings: Mapping[str, str]
    sex_words: Mapping[str, str]
    spaced_nhs_number: bool = False

    def heading(self, key: str) -> str:
        return self.headings.get(key, key)


_INITIALS: Final = {"F": "F", "M": "M"}
_WORDS: Final = {"F": "Female", "M": "Male"}

LAYOUTS: Final[Mapping[AgencyId, Layout]] = {
    NORTHMOOR_POLICE: Layout(
        "nominals.csv",
        "nominal_names.csv",
        "nominal_addresses.csv",
        "locations.csv",
        "%d/%m/%Y",
        {
            "subject_id": "nominal_id",
            "given": "forename_1",
            "middle": "forename_2",
            "family": "surname",
            "born": "dob",
            "sex": "gender",
            "place_id": "location_id",
            "house": "premise",
        },
        _INITIALS,
    ),
    SOUTHVALE_POLICE: Layout(
        "persons.csv",
        "person_aliases.csv",
        "person_addresses.csv",
        "places.csv",
        "%Y-%m-%d",
        {
            "subject_id": "person_ref",
            "given": "first_name",
            "middle": "middle_name",
            "family": "last_name",
            "born": "date_of_birth",
            "phone": "telephone",
            "house": "house_no",
        },
        _WORDS,
    ),
    NORTHMOOR_CARE: Layout(
        "service_users.csv",
        "service_user_names.csv",
        "service_user_addresses.csv",
        "addresses.csv",
        "%d %B %Y",
        {
            "subject_id": "service_user_id",
            "given": "forename",
            "middle": "other_forenames",
            "family": "surname",
            "born": "birth_date",
            "sex": "gender",
            "place_id": "address_id",
            "nhs_number": "nhs_no",
        },
        _WORDS,
    ),
    VALE_NHS: Layout(
        "patients.csv",
        "patient_names.csv",
        "patient_addresses.csv",
        "premises.csv",
        "%Y%m%d",
        {
            "subject_id": "local_patient_id",
            "given": "given_name",
            "middle": "middle_names",
            "family": "family_name",
            "born": "birth_date",
            "sex": "administrative_sex",
            "place_id": "premises_id",
            "house": "address_line_1",
            "street": "address_line_2",
            "town": "address_line_3",
        },
        _INITIALS,
        spaced_nhs_number=True,
    ),
    HAVEN_CHARITY: Layout(
        "clients.csv",
        "client_names.csv",
        "client_addresses.csv",
        "places.csv",
        "%d-%b-%Y",
        {
            "subject_id": "client_ref",
            "given": "known_as",
            "middle": "other_names",
            "family": "surname",
            "born": "date_of_birth",
            "consent": "consent_to_share",
        },
        _INITIALS,
    ),
}

RECORD_FILES: Final[Mapping[str, str]] = {
    "incident": "incidents.csv",
    "risk_assessment": "risk_assessments.csv",
    "referral": "referrals.csv",
    "contact": "contacts.csv",
    "attendance": "attendances.csv",
    "assessment": "assessments.csv",
    "tenancy": "tenancies.csv",
    "support_plan": "support_plans.csv",
}
PLACE_RECORDS_FILE: Final = "location_incidents.csv"
"""Incidents about a place alone; their subject is the place."""
