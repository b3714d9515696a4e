"""Two police force areas of made-up towns, streets and dwellings.

Postcodes have the valid form (``NM2 4QT``) in the postcode areas NM and SV, which Royal Mail does not use.
All dwellings of a street within a town share one sector, and about twenty neighbours share a postcode, as
in life.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import cast

from tallystick.population.identifiers import uprn
from tallystick.population.lexicon import Weighted, data_lines, sections, zipf
from tallystick.population.model import Address, Area

_UNIT_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"  # a postcode never ends in C, I, K, M, O or V
_AREAS: tuple[Area, Area] = ("northmoor", "southvale")
_HOUSES_PER_POSTCODE = 20


@dataclass(frozen=True, slots=True)
class Town:
    """A town and its postcode district."""

    name: str
    area: Area
    district: str


@cache
def towns(area: Area) -> Weighted[Town]:
    rows = [[part.strip() for part in line.split(";")] for line in data_lines("towns.txt")]
    own = [row for row in rows if row[1] == area]
    return Weighted(
        [Town(name, cast(Area, where), district) for name, where, district, _ in own],
        [float(row[3]) for row in own],
    )


@cache
def _street_names() -> Weighted[str]:
    lists = sections("streets.txt")
    kinds = lists["kind"]
    # The kind follows from the name's rank and turn, so that a common name is found as Street, Road and Lane.
    return zipf([f"{name} {kinds[(rank * 5 + turn * 7) % 18]}" for turn in range(4)
                 for rank, name in enumerate(lists["name"])])  # fmt: skip


@cache
def _street_number(street: str) -> int:
    return _street_names().values.index(street)


def other_area(area: Area) -> Area:
    return _AREAS[1 - _AREAS.index(area)]


def postcode(district: str, street_number: int, house_number: int) -> str:
    """The postcode of a dwelling: sector and units from the street, a new unit every twenty houses."""
    unit = (street_number // 10) * 7 + house_number // _HOUSES_PER_POSTCODE
    letters = _UNIT_LETTERS[unit // 20 % 20] + _UNIT_LETTERS[unit % 20]
    return f"{district} {street_number % 10}{letters}"


def town_named(name: str) -> Town:
    """A town of either area. Raises KeyError for a name that is not in the list."""
    for area in _AREAS:
        for town in towns(area).values:
            if town.name == name:
                return town
    raise KeyError(name)


def address_at(key: int, house: str, number: int, street: str, town: Town) -> Address:
    """A dwelling; ``number`` is the house number within ``house``. The street must be one of the lists'
    streets."""
    code = postcode(town.district, _street_number(street), number)
    return Address(key, house, street, town.name, code, uprn(key), town.area)


class Gazetteer:
    """Hands out dwellings, numbered up to 181; the same house, street and town is always the same address."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._known: dict[tuple[str, str, str], Address] = {}

    def dwelling(self, area: Area) -> Address:
        rng = self._rng
        town = towns(area).draw(rng)
        street = _street_names().draw(rng)
        number = 1 + int(rng.random() ** 1.6 * 180)
        kind = rng.random()
        if kind < 0.16:
            house = f"Flat {1 + int(rng.random() * 12)}, {number}"
        elif kind < 0.19:
            house = f"{number}{'ABC'[int(rng.random() * 3)]}"
        else:
            house = str(number)
        return self._address(house, number, street, town)

    def _address(self, house: str, number: int, street: str, town: Town) -> Address:
        place = (house, street, town.name)
        address = self._known.get(place)
        if address is None:
            address = address_at(len(self._known) + 1, house, number, street, town)
            self._known[place] = address
        return address
