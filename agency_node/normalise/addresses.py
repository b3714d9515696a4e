"""UK addresses as house, street and town, from one line, several lines or separate cells.

Abbreviations are written out (``Rd``, ``St.`` at the end of a street, ``Ave``),
``Apt`` and ``Flt`` become ``FLAT``, countries and
counties go, and the postcode is found wherever it stands. The aim is one form for two agencies' spellings of
the same place, not a postal address: a UPRN, where the source has one, is always better.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from agency_node.normalise.postcodes import normalise_postcode
from agency_node.normalise.reasons import MISSING, Outcome, Reason, unique
from agency_node.normalise.text import MAX_CHARACTERS, is_blank, is_placeholder, plain

_STREET_WORDS: Final = {
    "RD": "ROAD", "ROD": "ROAD", "STR": "STREET", "STRT": "STREET", "AVE": "AVENUE", "AV": "AVENUE",
    "AVN": "AVENUE", "CL": "CLOSE", "CLO": "CLOSE", "CRES": "CRESCENT", "CRESC": "CRESCENT",
    "CR": "CRESCENT", "DRV": "DRIVE", "LN": "LANE", "LA": "LANE", "PL": "PLACE", "SQ": "SQUARE",
    "TER": "TERRACE", "TERR": "TERRACE", "TCE": "TERRACE", "GDNS": "GARDENS", "GDN": "GARDENS",
    "GDS": "GARDENS", "GRDNS": "GARDENS", "GR": "GROVE", "GRV": "GROVE", "GRO": "GROVE", "PK": "PARK",
    "WLK": "WALK", "WK": "WALK", "PDE": "PARADE", "MT": "MOUNT", "EST": "ESTATE", "HWY": "HIGHWAY",
    "BLVD": "BOULEVARD", "YD": "YARD", "CT": "COURT", "CRT": "COURT", "HSE": "HOUSE", "HO": "HOUSE",
    "BLDG": "BUILDING", "BLDGS": "BUILDINGS", "COTT": "COTTAGE", "FM": "FARM", "GRN": "GREEN", "HL": "HILL",
    "QY": "QUAY", "VW": "VIEW", "VLS": "VILLAS", "BRDG": "BRIDGE", "MDWS": "MEADOWS", "MWS": "MEWS",
    "UPR": "UPPER", "LWR": "LOWER", "GT": "GREAT", "LT": "LITTLE", "LTL": "LITTLE", "NTH": "NORTH",
    "STH": "SOUTH", "FLT": "FLAT", "APT": "FLAT", "APPT": "FLAT", "APARTMENT": "FLAT", "RM": "ROOM",
    "FLR": "FLOOR", "GRD": "GROUND", "GND": "GROUND", "BSMT": "BASEMENT", "SAINT": "ST", "NO": "",
    "NUMBER": "",
}  # fmt: skip
_ENDINGS: Final = {"ST": "STREET", "DR": "DRIVE", "STREETS": "STREET"}
_COMPASS: Final = frozenset({"NORTH", "SOUTH", "EAST", "WEST", "N", "S", "E", "W"})
_THOROUGHFARES: Final = frozenset(
    {
        "ROAD", "STREET", "AVENUE", "CLOSE", "CRESCENT", "DRIVE", "LANE", "PLACE", "SQUARE", "TERRACE",
        "GARDENS", "GROVE", "PARK", "WALK", "PARADE", "MOUNT", "ESTATE", "HIGHWAY", "BOULEVARD", "YARD",
        "WAY", "HILL", "QUAY", "VIEW", "MEWS", "RISE", "ROW", "GREEN", "GATE", "CIRCUS", "END", "PATH",
        "PASSAGE", "WHARF", "EMBANKMENT", "BRAE", "WYND", "STRAND", "BROADWAY", "MEADOWS", "CROFT", "DALE",
        "VALE", "GLEN", "FOLD", "CRANE", "BANK", "CAUSEWAY", "SIDE", "APPROACH", "CHASE",
    }
)  # fmt: skip
_DWELLINGS: Final = frozenset(
    {
        "HOUSE", "COTTAGE", "FARM", "COURT", "BUILDING", "BUILDINGS", "LODGE", "VILLA", "VILLAS", "HALL",
        "BARN", "MANOR", "TOWER", "TOWERS", "MANSIONS", "POINT", "HEIGHTS",
    }
)  # fmt: skip
_UNITS: Final = frozenset(
    {
        "FLAT", "UNIT", "ROOM", "STUDIO", "BASEMENT", "GROUND", "FIRST", "SECOND", "THIRD", "TOP", "UPPER",
        "LOWER", "BLOCK", "CARAVAN", "PLOT",
    }
)  # fmt: skip
_COUNTRIES: Final = frozenset(
    {
        "UK", "UNITED KINGDOM", "GREAT BRITAIN", "GB", "ENGLAND", "SCOTLAND", "WALES", "NORTHERN IRELAND",
        "BEDFORDSHIRE", "BERKSHIRE", "BUCKINGHAMSHIRE", "CAMBRIDGESHIRE", "CHESHIRE", "CORNWALL", "CUMBRIA",
        "DERBYSHIRE", "DEVON", "DORSET", "EAST SUSSEX", "WEST SUSSEX", "ESSEX", "GLOUCESTERSHIRE",
        "GREATER LONDON", "GREATER MANCHESTER", "HAMPSHIRE", "HEREFORDSHIRE", "HERTFORDSHIRE", "KENT",
        "LANCASHIRE", "LEICESTERSHIRE", "LINCOLNSHIRE", "MERSEYSIDE", "MIDDLESEX", "NORFOLK",
        "NORTHAMPTONSHIRE", "NORTHUMBERLAND", "NOTTINGHAMSHIRE", "OXFORDSHIRE", "SHROPSHIRE", "SOMERSET",
        "STAFFORDSHIRE", "SUFFOLK", "SURREY", "TYNE AND WEAR", "WARWICKSHIRE", "WEST MIDLANDS", "WILTSHIRE",
        "WORCESTERSHIRE", "NORTH YORKSHIRE", "SOUTH YORKSHIRE", "WEST YORKSHIRE", "EAST YORKSHIRE",
    }
)  # fmt: skip
_NO_ABODE: Final = frozenset(
    {
        "NFA", "NO FIXED ABODE", "NO FIXED ADDRESS", "HOMELESS", "ROUGH SLEEPER", "ROUGH SLEEPING",
        "SOFA SURFING", "OF NO FIXED ABODE",
    }
)  # fmt: skip
_NUMBER: Final = re.compile(r"\d+[A-Z]?(?:[-/]\d+[A-Z]?)?")
_NUMBERED_LINE: Final = re.compile(r"(\d+ ?[A-Z]?(?:[-/]\d+[A-Z]?)?)(?: |$)(.*)")
_POSTCODE_AT_END: Final = re.compile(r"(?:^|[\s,])((?:GIR ?0AA|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}))\.?$")
_CARE_OF: Final = re.compile(r"^(?:C/O|C/-|CARE OF)\b\s*")
_NOT_WORDS: Final = re.compile(r"[^A-Z0-9/-]+")


@dataclass(frozen=True, slots=True)
class AddressReading:
    """The parts of an address, each with its own reasons."""

    house: Outcome = MISSING
    street: Outcome = MISSING
    town: Outcome = MISSING
    postcode: Outcome = MISSING

    def __repr__(self) -> str:
        return "AddressReading(<redacted>)"


@lru_cache(maxsize=1 << 17)
def normalise_house(text: str) -> Outcome:
    """A house number or name with its flat: ``FLAT 2 14``, ``14B``, ``ROSE COTTAGE``; idempotent."""
    return _normalise_words(text, street=False)


@lru_cache(maxsize=1 << 17)
def normalise_street(text: str) -> Outcome:
    """A street with its type written out: ``ST JOHNS ROAD``; idempotent."""
    return _normalise_words(text, street=True)


@lru_cache(maxsize=1 << 16)
def normalise_town(text: str) -> Outcome:
    """A town or locality; a county or country alone is no town; idempotent."""
    outcome = _normalise_words(text, street=False, units=False)
    if outcome.value in _COUNTRIES:
        return Outcome("", (*outcome.reasons, Reason.COUNTRY_REMOVED, Reason.NO_LETTERS))
    return outcome


@lru_cache(maxsize=1 << 16)
def read_address(text: str) -> AddressReading:
    """An address in one cell, its lines separated by commas, semicolons or line breaks, or not at all."""
    if is_blank(text):
        return AddressReading()
    if len(text) > MAX_CHARACTERS:
        return AddressReading(street=Outcome("", (Reason.TOO_LONG,)))
    lines = [line for line in (plain(part, []) for part in re.split(r"[,;\r\n|]", text)) if line]
    if not lines:
        return AddressReading(street=Outcome("", (Reason.NO_LETTERS,)))
    whole = " ".join(_words(" ".join(lines)))
    if whole in _NO_ABODE or is_placeholder(whole):
        reason = Reason.NO_FIXED_ABODE if whole in _NO_ABODE else Reason.PLACEHOLDER
        return AddressReading(street=Outcome("", (reason,)))
    notes: list[Reason] = []
    lines, postcode = _take_postcode(lines)
    if lines and (match := _CARE_OF.match(lines[0])):
        lines[0] = lines[0][match.end() :]
        notes.append(Reason.CARE_OF)
    while len(lines) > 1 and " ".join(_words(lines[-1])) in _COUNTRIES:
        lines.pop()
        notes.append(Reason.COUNTRY_REMOVED)
    house_text, street_text, town_text = _split_lines([line for line in lines if line])
    street = normalise_street(street_text)
    if notes:
        street = Outcome(street.value, unique([*notes, *street.reasons]))
    return AddressReading(normalise_house(house_text), street, normalise_town(town_text), postcode)


def joined_address(house: str, street: str) -> str:
    """The derived ``address`` field: house and street, "" where either is missing."""
    return f"{house} {street}" if house and street else ""


def _take_postcode(lines: list[str]) -> tuple[list[str], Outcome]:
    """The lines without the postcode, and the postcode; only a line's end can hold one."""
    for index in range(len(lines) - 1, -1, -1):
        match = _POSTCODE_AT_END.search(lines[index])
        if match is None:
            continue
        outcome = normalise_postcode(match[1])
        if outcome.value or Reason.PSEUDO_POSTCODE in outcome.reasons:
            rest = lines[index][: match.start()].strip()
            return [*lines[:index], *([rest] if rest else []), *lines[index + 1 :]], outcome
    return list(lines), MISSING


def _split_lines(lines: list[str]) -> tuple[str, str, str]:
    """House, street and town of upper-case address lines without a postcode."""
    houses: list[str] = []
    while lines:
        words = _expand(_words(lines[0]), street=False)
        if not words:
            lines = lines[1:]
            continue
        numbered = _NUMBERED_LINE.fullmatch(" ".join(words))
        is_unit = words[0] in _UNITS
        if is_unit and not _THOROUGHFARES.intersection(_expand(_words(lines[0]), street=True)[1:]):
            houses.append(" ".join(words))
        elif numbered is not None and not numbered[2]:
            houses.append(numbered[1])
        elif words[-1] in _DWELLINGS and len(lines) > 1 and not (houses and _NUMBER.fullmatch(houses[-1])):
            houses.append(" ".join(words))
        else:
            break
        lines = lines[1:]
    if not lines:
        return " ".join(houses), "", ""
    house, street, town = _split_street_line(lines[0])
    if house:
        houses.append(house)
    elif not houses and len(lines) > 2 and not _has_thoroughfare(lines[0]) and _has_thoroughfare(lines[1]):
        more_house, street, town = _split_street_line(lines[1])
        return " ".join([lines[0], more_house]).strip(), street, lines[-1]
    return " ".join(houses), street, (lines[-1] if len(lines) > 1 else town)


def _has_thoroughfare(line: str) -> bool:
    return bool(_THOROUGHFARES.intersection(_expand(_words(line), street=True)))


def _split_street_line(line: str) -> tuple[str, str, str]:
    """House, street and town of one line such as ``FLAT 2 14 HIGH STREET LEEDS``."""
    words = _words(line)
    numbers = [index for index, word in enumerate(words[:-1]) if _NUMBER.fullmatch(word)]
    start = 0
    if numbers and (numbers[0] == 0 or words[0] in _STREET_WORDS or words[0] in _UNITS):
        in_unit = words[0] in _UNITS or _STREET_WORDS.get(words[0]) in _UNITS
        start = (numbers[1] if in_unit and len(numbers) > 1 else numbers[0]) + 1
        if start < len(words) - 1 and len(words[start]) == 1 and words[start] not in _COMPASS:
            start += 1
    house, rest = words[:start], words[start:]
    expanded = _expand(rest, street=False)
    for index, word in enumerate(expanded):
        # "HIGH STREET LEEDS" ends at its thoroughfare; "ST" is a street only after another word and before
        # the town
        if index > 0 and (word in _THOROUGHFARES or (word == "ST" and expanded[index - 1] not in _COMPASS)):
            end = index + 2 if index + 1 < len(expanded) and expanded[index + 1] in _COMPASS else index + 1
            if word == "ST":
                end = index + 1
            following = expanded[end:]
            if not _THOROUGHFARES.intersection(following):
                return " ".join(house), " ".join(expanded[:end]), " ".join(following)
    return " ".join(house), " ".join(rest), ""


def _words(text: str) -> list[str]:
    parts = (
        word.strip("-/")
        for word in _NOT_WORDS.split(text.replace("'", "").replace(".0 ", " ").removesuffix(".0"))
    )
    return [word for word in parts if word]


def _expand(words: list[str], *, street: bool) -> list[str]:
    """The words with abbreviations written out; in a street the last word is its type."""
    expanded = [_STREET_WORDS.get(word, word) for word in words]
    if street and len(expanded) > 1:
        last = len(expanded) - (2 if len(expanded) > 2 and expanded[-1] in _COMPASS else 1)
        expanded[last] = _ENDINGS.get(expanded[last], expanded[last])
    return [word for word in expanded if word]


def _normalise_words(text: str, *, street: bool, units: bool = True) -> Outcome:
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    reasons: list[Reason] = []
    words = _words(plain(text, reasons))
    bare = " ".join(words)
    if bare in _NO_ABODE:
        return Outcome("", (Reason.NO_FIXED_ABODE,))
    if is_placeholder(bare):
        return Outcome("", (Reason.PLACEHOLDER,))
    while True:
        expanded = _expand(words, street=street) if units else words
        if expanded == words:
            break
        reasons.append(Reason.ABBREVIATION_EXPANDED)
        words = expanded
    if not words or (len(words) == 1 and not words[0].strip("0")) or is_placeholder(" ".join(words)):
        return Outcome("", (*unique(reasons), Reason.NO_LETTERS))
    value = " ".join(words)
    if value != text and not reasons:
        reasons.append(Reason.REFORMATTED)
    return Outcome(value, unique(reasons))
