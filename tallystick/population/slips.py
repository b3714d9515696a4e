"""The ways in which a clerk's record differs from the truth: slips of hand, eye, ear and form.

The classes follow the corruptors of FEBRL and GeCo (Christen, *Data Matching*, 2012, ch. 7): keyboard
neighbours, optical character confusions, sounds, transpositions, and swapped day and month.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from random import Random
from typing import Final

from anyascii import anyascii

from tallystick.population.model import AS_OF

_KEYS: Final[Mapping[str, str]] = {
    "a": "sq",
    "b": "vn",
    "c": "xv",
    "d": "sf",
    "e": "wr",
    "f": "dg",
    "g": "fh",
    "h": "gj",
    "i": "uo",
    "j": "hk",
    "k": "jl",
    "l": "k",
    "m": "n",
    "n": "bm",
    "o": "ip",
    "p": "o",
    "q": "w",
    "r": "et",
    "s": "ad",
    "t": "ry",
    "u": "yi",
    "v": "cb",
    "w": "qe",
    "x": "zc",
    "y": "tu",
    "z": "x",
}
_LOOKS: Final = (
    ("m", "rn"),
    ("rn", "m"),
    ("l", "i"),
    ("cl", "d"),
    ("d", "cl"),
    ("h", "b"),
    ("u", "v"),
    ("n", "r"),
)
_SOUNDS: Final = (
    ("ph", "f"),
    ("ck", "k"),
    ("ey", "y"),
    ("ie", "y"),
    ("y", "ie"),
    ("ee", "ea"),
    ("ea", "ee"),
    ("ou", "o"),
    ("tt", "t"),
    ("ll", "l"),
    ("nn", "n"),
    ("th", "t"),
    ("sh", "ch"),
    ("c", "k"),
    ("k", "c"),
    ("s", "z"),
    ("ai", "ay"),
)


def name_slip(rng: Random, name: str) -> str:
    """One slip in a name of at least three letters, of a kind by chance; the first letter mostly survives."""
    if len(name) < 3:
        return name
    kind = rng.random()
    if kind < 0.28:
        return _replace_one(rng, name, _SOUNDS)
    if kind < 0.40:
        return _replace_one(rng, name, _LOOKS)
    at = 1 + int(rng.random() * (len(name) - 1))
    if kind < 0.60:
        near = _KEYS.get(name[at], name[at])
        return name[:at] + near[int(rng.random() * len(near))] + name[at + 1 :]
    if kind < 0.75:
        at = min(at, len(name) - 2)
        return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    if kind < 0.90:
        return name[:at] + name[at + 1 :]
    return name[:at] + name[at] + name[at:]


def _replace_one(rng: Random, name: str, table: tuple[tuple[str, str], ...]) -> str:
    found = [(old, new) for old, new in table if name.find(old, 1) > 0]
    if not found:
        return name
    old, new = found[int(rng.random() * len(found))]
    at = name.find(old, 1)
    return name[:at] + new + name[at + len(old) :]


def plain_letters(name: str) -> str:
    """The name as a system without accents, and often without apostrophes, keeps it."""
    return anyascii(name).replace("'", "")


def day_month_swapped(born: date) -> date:
    """Day and month exchanged where that is a date, else the same day."""
    return born.replace(month=born.day, day=born.month) if born.day <= 12 else born


def date_slip(rng: Random, born: date) -> date:
    """A date of birth as misread: day and month swapped, year one off, digits transposed, or 1 January."""
    kind = rng.random()
    if kind < 0.45:
        return day_month_swapped(born)
    if kind < 0.65:
        return _with_year(born, born.year + (1 if rng.random() < 0.5 else -1))
    if kind < 0.85:
        return _with_day(born, int(f"{born.day:02d}"[::-1]))
    if kind < 0.93:
        return _with_year(born, born.year // 100 * 100 + int(f"{born.year % 100:02d}"[::-1]))
    return born.replace(month=1, day=1)


def _with_year(born: date, year: int) -> date:
    return born.replace(year=year, day=min(born.day, 28)) if 1900 < year <= AS_OF.year else born


def _with_day(born: date, day: int) -> date:
    return born.replace(day=day) if 1 <= day <= 28 else born


def digit_slip(rng: Random, number: str) -> str:
    """Two neighbouring characters transposed, as in a postcode or a house number taken down by telephone."""
    if len(number) < 2:
        return number
    at = int(rng.random() * (len(number) - 1))
    return number[:at] + number[at + 1] + number[at] + number[at + 2 :]
