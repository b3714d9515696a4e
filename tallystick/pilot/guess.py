"""A mapping guessed from column names, for files whose headings are the usual ones. It says what it did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agency_node.mapping import CellRule, FieldRule
from agency_node.normalise import NormaliseRules
from tallystick.pilot.errors import PilotError
from tallystick.pilot.mapping import FileMapping, read_header

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "given_names": (
        "givennames", "givenname", "given", "firstname", "firstnames", "forename", "forenames", "forename1",
        "fname", "first", "pername1", "christianname", "personforename", "firstname1", "name1", "fnamec1",
    ),
    "family_name": (
        "familyname", "family", "surname", "lastname", "lname", "last", "pername2", "personsurname",
        "surname1", "lastname1", "name2", "lnamec1",
    ),
    "full_name": ("fullname", "name", "personname", "patientname", "clientname"),
    "date_of_birth": ("dateofbirth", "dob", "birthdate", "born", "persondob", "birthdt", "bdate"),
    "sex": ("sex", "gender", "sexcode", "gendercode"),
    "house": (
        "housenumber", "houseno", "housenum", "hsenum", "streetnumber", "streetno", "housename", "house",
        "buildingnumber", "housenumbername", "housenameornumber",
    ),
    "street": ("street", "streetname", "road", "strnam", "thoroughfare", "address1", "addressline1", "addr1"),
    "town": ("town", "city", "posttown", "suburb", "locality"),
    "full_address": (
        "fulladdress", "address", "enumcap", "capadd", "homeaddress", "addr", "postaladdress",
        "streetaddress", "resstreetaddress",
    ),
    "postcode": ("postcode", "postalcode", "pcode", "zip", "zipcode", "enumpc", "postcd", "plz"),
    "nhs_number": ("nhsnumber", "nhsno", "nhsnum", "nhs"),
    "upn": ("upn", "uniquepupilnumber"),
    "phone": ("phone", "telephone", "mobile", "phonenumber", "mobilenumber", "tel"),
    "email": ("email", "emailaddress"),
    "uprn": ("uprn",),
}  # fmt: skip
_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "day": ("dobday", "birthday", "dayofbirth", "bd", "bday", "dobd", "dobdd"),
    "month": ("dobmon", "dobmonth", "birthmonth", "monthofbirth", "bm", "dobm", "dobmm"),
    "year": ("dobyear", "birthyear", "yearofbirth", "by", "yob", "doby", "dobyyyy"),
}
_RECORD_IDS: Final = ("recordid", "recid", "personid", "subjectid", "id", "clientid", "caseid")
_LEAST: Final = 3


@dataclass(frozen=True, slots=True)
class _Found:
    columns: dict[str, str]
    fields: tuple[FieldRule, ...]


def guess_mapping(agency: str, path: Path, never: Sequence[str]) -> FileMapping:
    """The mapping that a file's column names suggest.

    :param never: columns that must not be used, such as the truth.
    :raises PilotError: fewer than three fields were recognised.
    """
    header = read_header(path)
    usable = [column for column in header.columns if column and column not in never]
    found = _recognise(usable)
    if len(found.fields) < _LEAST:
        raise PilotError(
            f"{path.name}: only {len(found.fields)} of its columns have a name that is recognised "
            f"({', '.join(found.columns.values()) or 'none'}); write a mapping and give it with --mapping"
        )
    used = {column for rule in found.fields for column in rule.columns}
    record_id = next((c for c in usable if _plain(c) in _RECORD_IDS and c not in used), "")
    left = [column for column in usable if column not in used and column != record_id]
    taken = ", ".join(f"{rule.name} = {'/'.join(rule.columns)}" for rule in found.fields)
    notes = [f"{agency}: guessed from the column names of {path.name}: {taken}"]
    if left:
        notes.append(f"{agency}: not used: {', '.join(left)}")
    return FileMapping(agency, header, record_id, found.fields, NormaliseRules(), False, tuple(notes))


def _recognise(columns: Sequence[str]) -> _Found:
    by_plain = {_plain(column): column for column in reversed(columns)}
    single = {
        target: by_plain[name]
        for target, names in _NAMES.items()
        for name in reversed(names)
        if name in by_plain
    }
    parts = {
        part: next((by_plain[name] for name in names if name in by_plain), "")
        for part, names in _PARTS.items()
    }
    if "given_names" in single or "family_name" in single:
        single.pop("full_name", None)
    if "full_address" in single:
        # the whole tells more than a part that may be missing in the other file
        single.pop("house", None)
        single.pop("street", None)
    fields = [FieldRule(target, CellRule((column,))) for target, column in single.items()]
    if "date_of_birth" not in single and parts["year"]:
        cells = [CellRule((parts[p],)) if parts[p] else CellRule() for p in ("day", "month", "year")]
        fields.append(FieldRule("date_of_birth", CellRule(), (cells[0], cells[1], cells[2])))
    return _Found(single, tuple(fields))


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())
