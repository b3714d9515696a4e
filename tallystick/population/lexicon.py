"""Word lists of the package and how often each word comes up.

Frequencies follow Zipf-Mandelbrot, ``1 / (rank + 4) ** 0.85``: close to the published shape of British
surnames, where the commonest is about one in a hundred and the tail is long.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from random import Random
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ORIGIN_SHARES: Final[Mapping[str, float]] = {
    "british": 0.72,
    "irish": 0.06,
    "south_asian": 0.09,
    "polish": 0.04,
    "african": 0.035,
    "caribbean": 0.02,
    "chinese": 0.015,
    "middle_eastern": 0.02,
}


class Weighted(Generic[T]):
    """Draws from a fixed list by weight, one random number a draw."""

    __slots__ = ("_cumulative", "_total", "values")

    def __init__(self, values: Sequence[T], weights: Sequence[float]) -> None:
        self.values = tuple(values)
        self._cumulative = list(accumulate(weights))
        self._total = self._cumulative[-1]

    def draw(self, rng: Random) -> T:
        return self.values[min(bisect(self._cumulative, rng.random() * self._total), len(self.values) - 1)]


def zipf(values: Sequence[T]) -> Weighted[T]:
    return Weighted(values, [1 / (rank + 4) ** 0.85 for rank in range(len(values))])


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one origin, each list in order of frequency."""

    family: Weighted[str]
    female: Weighted[str]
    male: Weighted[str]


def data_lines(name: str) -> list[str]:
    """The lines of a data file of this package, without comments and blank lines."""
    text = (resources.files("tallystick.population") / "data" / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def sections(name: str) -> dict[str, list[str]]:
    """The words of a data file by ``[section]``, each word once, in file order."""
    found: dict[str, dict[str, None]] = {}
    words: dict[str, None] = {}
    for line in data_lines(name):
        if line.startswith("["):
            words = found.setdefault(line.strip("[]"), {})
        else:
            words.update(dict.fromkeys(line.split()))
    return {section: list(entries) for section, entries in found.items()}


@cache
def names(origin: str) -> Names:
    lists = sections(f"names_{origin}.txt")
    return Names(zipf(lists["family"]), zipf(lists["female"]), zipf(lists["male"]))


@cache
def origins() -> Weighted[str]:
    return Weighted(list(ORIGIN_SHARES), list(ORIGIN_SHARES.values()))


@cache
def nicknames() -> Mapping[str, tuple[str, ...]]:
    """Short forms by formal given name."""
    table: dict[str, tuple[str, ...]] = {}
    for line in data_lines("nicknames.txt"):
        formal, _, short = line.partition(":")
        table[formal] = tuple(short.split())
    return table


def family_name(origin: str, family: str, sex: str) -> str:
    """A family name in the form its bearer uses: Polish adjectival names end in -a for women."""
    if origin == "polish" and sex == "F" and family.endswith(("ski", "cki", "dzki")):
        return family[:-1] + "a"
    return family
