"""Households: who lives together, what they are called, and where they lived before.

Made to be as awkward for matching as life is: twins and brothers at one address, sons with their father's
name, names changed on marriage or back again on separation, and moves within and between the two police
force areas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

from tallystick.population.geography import Gazetteer, other_area
from tallystick.population.identifiers import email_address, phone_number
from tallystick.population.lexicon import Weighted, family_name, names, origins
from tallystick.population.model import Area, Person, PersonId, Residence, Sex

TEN_YEARS: Final = 3652
_KINDS: Final = Weighted(
    ["alone", "couple", "family", "lone parent", "sharers"],
    [0.30, 0.26, 0.26, 0.13, 0.05],
)
_MOVES: Final = Weighted([0, 1, 2, 3], [0.45, 0.30, 0.17, 0.08])
_MIXED_COUPLES = 0.08
_TAKES_HUSBANDS_NAME = 0.72
_RESUMED_MAIDEN_NAME = 0.22
_TWINS = 0.05
_NAMED_AFTER_FATHER = 0.03
_CROSSES_BOUNDARY = 0.30


@dataclass(slots=True)
class _Member:
    given: str
    middle: str
    family: str
    sex: Sex
    born: date
    origin: str
    former_family: str = ""


class HouseholdMaker:
    """Makes households one after the other, numbering their people from ``first_person``."""

    def __init__(
        self, rng: Random, gazetteer: Gazetteer, nhs: Iterator[str], as_of: date, first_person: int
    ) -> None:
        self._rng = rng
        self._gazetteer = gazetteer
        self._nhs = nhs
        self._as_of = as_of
        self._next_person = first_person
        self._household = 0

    def make(self, area: Area) -> list[Person]:
        """The people of one household whose present home is in ``area``, one to seven of them."""
        self._household += 1
        residences = self._residences(area)
        return [self._person(member, residences) for member in self._members()]

    def _members(self) -> list[_Member]:
        rng = self._rng
        kind = _KINDS.draw(rng)
        origin = origins().draw(rng)
        age = 20 + int(rng.random() ** 1.3 * 68)
        if kind == "sharers":
            return [self._adult(origins().draw(rng), self._sex(), 19 + int(rng.random() * 14))
                    for _ in range(2 + int(rng.random() * 3))]  # fmt: skip
        if kind == "alone":
            return [self._perhaps_resumed(self._adult(origin, self._sex(), age))]
        if kind == "couple":
            return list(self._couple(origin, age))
        parent_age = 22 + int(rng.random() * 30)
        if kind == "family":
            father, mother = self._couple(origin, parent_age)
            return [father, mother, *self._children(mother, father)]
        parent = self._perhaps_resumed(self._adult(origin, "F" if rng.random() < 0.86 else "M", parent_age))
        return [parent, *self._children(parent, None)]

    def _sex(self) -> Sex:
        return "F" if self._rng.random() < 0.51 else "M"

    def _given(self, origin: str, sex: Sex) -> str:
        lists = names(origin)
        return (lists.female if sex == "F" else lists.male).draw(self._rng)

    def _adult(self, origin: str, sex: Sex, age: int) -> _Member:
        rng = self._rng
        family = family_name(origin, names(origin).family.draw(rng), sex)
        middle = self._given(origin, sex) if rng.random() < 0.6 else ""
        born = self._as_of - timedelta(days=age * 365 + int(rng.random() * 365) + age // 4)
        return _Member(self._given(origin, sex), middle, family, sex, born, origin)

    def _couple(self, origin: str, age: int) -> tuple[_Member, _Member]:
        rng = self._rng
        hers = origins().draw(rng) if rng.random() < _MIXED_COUPLES else origin
        husband = self._adult(origin, "M", age)
        wife = self._adult(hers, "F", max(18, age - 4 + int(rng.random() * 6)))
        if rng.random() < _TAKES_HUSBANDS_NAME:
            married = family_name(origin, husband.family, "F")
            if married != wife.family:
                wife.family, wife.former_family = married, wife.family
        return husband, wife

    def _perhaps_resumed(self, member: _Member) -> _Member:
        if member.sex == "F" and self._rng.random() < _RESUMED_MAIDEN_NAME:
            married = family_name(member.origin, names(member.origin).family.draw(self._rng), "F")
            if married != member.family:
                member.former_family = married
        return member

    def _children(self, parent: _Member, father: _Member | None) -> list[_Member]:
        rng = self._rng
        families = father or parent
        first = parent.born + timedelta(days=365 * 19 + int(rng.random() * 365 * 9))
        children: list[_Member] = []
        for _ in range(1 + int(rng.random() ** 1.8 * 4)):
            if first > self._as_of - timedelta(days=30) or (self._as_of - first).days > 365 * 24:
                break
            sex = self._sex()
            family = family_name(families.origin, families.family, sex)
            given = self._given(families.origin, sex)
            if father and sex == "M" and rng.random() < _NAMED_AFTER_FATHER:
                given = father.given
            middle = self._given(families.origin, sex) if rng.random() < 0.5 else ""
            children.append(_Member(given, middle, family, sex, first, families.origin))
            if rng.random() >= _TWINS:  # else the next child is a twin: born the same day
                first += timedelta(days=400 + int(rng.random() * 1200))
        return children

    def _residences(self, area: Area) -> tuple[Residence, ...]:
        """The household's homes of the last ten years, the oldest first."""
        rng = self._rng
        moves = _MOVES.draw(rng)
        days = sorted({60 + int(rng.random() * (TEN_YEARS - 120)) for _ in range(moves)})
        ends: list[date | None] = [None, *(self._as_of - timedelta(days=day) for day in days)]
        starts = [*ends[1:], self._as_of - timedelta(days=TEN_YEARS + int(rng.random() * 3000))]
        homes: list[Residence] = []
        where = area
        for since, until in zip(starts, ends, strict=True):
            assert since is not None
            homes.append(Residence(self._gazetteer.dwelling(where), since, until))
            if rng.random() < _CROSSES_BOUNDARY:
                where = other_area(where)
        return tuple(reversed(homes))

    def _person(self, member: _Member, homes: tuple[Residence, ...]) -> Person:
        number = self._next_person
        self._next_person += 1
        lived = tuple(home for home in homes if home.until is None or home.until > member.born)
        grown = (self._as_of - member.born).days > 365 * 12
        return Person(
            person_id=PersonId(number),
            household=self._household,
            origin=member.origin,
            given=member.given,
            middle=member.middle,
            family=member.family,
            former_family=member.former_family,
            sex=member.sex,
            born=member.born,
            nhs_number=next(self._nhs),
            phone=phone_number(self._rng) if grown else "",
            email=email_address(member.given, member.family, number) if grown else "",
            residences=lived,
        )
