"""Dates of birth and of events, in every form that agencies' systems write them.

Read: ISO (with or without a time), ``dd/mm/yyyy`` with any of ``/ - . ,`` or spaces, two-digit years with a
pivot, month names, ``19800303`` and ``03031980``, separate day, month and year cells, spreadsheet day
numbers, partial dates (``1980``, ``Mar 1980``, ``??/03/1980``, ``1980-00-00``), and explicit ``strptime``
formats from the mapping, which go first. The order is day first unless the rule says otherwise; a date that
is possible only the other way round is accepted and flagged.

Some dates say that nobody knew: 1900-01-01 and its kin are dropped, and 1 January of any year keeps only the
year (the usual default for a person whose day of birth is not known), unless the rule says to keep it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from agency_node.normalise.reasons import MISSING, Outcome, Reason, unique
from agency_node.normalise.text import MAX_CHARACTERS, is_blank, is_placeholder, plain

DEFAULT_DATES: Final = frozenset(
    {
        date(1, 1, 1), date(1753, 1, 1), date(1800, 1, 1), date(1899, 12, 30), date(1899, 12, 31), date(1900,
        1, 1), date(1900, 1, 2), date(1901, 1, 1), date(1910, 1, 1), date(1911, 11, 11), date(1970, 1, 1),
        date(2099, 12, 31), date(2999, 12, 31), date(9999, 12, 31), date(1111, 11, 11), date(2222, 2, 2),
    }
)  # fmt: skip
"""Dates that systems and typists write for "not known"."""

_EXCEL_EPOCH: Final = date(
    1899, 12, 30
)  # the 1900 system, whose day 60 never existed: true for day numbers from 61
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_TIME: Final = re.compile(r"[T ]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)? ?(?:AM|PM)?(?: ?Z| ?[+-]\d{2}:?\d{2})?$")
_ORDINAL: Final = re.compile(r"(?<=\d)(?:ST|ND|RD|TH)\b")
_WEEKDAY: Final = re.compile(
    r"^(?:MON|TUE|TUES|WED|THU|THUR|THURS|FRI|SAT|SUN)(?:DAY|SDAY|NESDAY|RSDAY|URDAY)?\b[ ,]*"
)
_SEPARATORS: Final = re.compile(r"[\s/.,_-]+")
_UNKNOWN_PART: Final = re.compile(r"[?X*]{1,4}|0{1,4}|[UN]K|--+")


@dataclass(frozen=True, slots=True)
class DateRule:
    """How dates of one column are read. ``latest`` is normally today: a birth later than that is dropped."""

    formats: tuple[str, ...] = ()
    order: Literal["dmy", "mdy"] = "dmy"
    pivot_year: int = 2030
    earliest_year: int = 1890
    latest: date | None = None
    first_of_january: Literal["missing", "keep"] = "missing"

    def year_of(self, two_digits: int) -> int:
        """The last year with these digits before ``pivot_year``, and not after ``latest``."""
        last = self.pivot_year - 1 if self.latest is None else min(self.pivot_year - 1, self.latest.year)
        return last - (last - two_digits) % 100


@dataclass(frozen=True, slots=True)
class DateReading:
    """The parts of a date that are known, and why the others are not."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def iso(self) -> str:
        """``YYYY-MM-DD`` where the whole date is known, else ""."""
        if self.year is None or self.month is None or self.day is None:
            return ""
        return f"{self.year:04d}-{self.month:02d}-{self.day:02d}"

    @property
    def birth_year(self) -> str:
        """``YYYY`` or ""."""
        return "" if self.year is None else f"{self.year:04d}"

    @property
    def birth_day_month(self) -> str:
        """``MM-DD``, with an empty half where that half is not known; "" where neither is."""
        if self.month is None and self.day is None:
            return ""
        month = "" if self.month is None else f"{self.month:02d}"
        return f"{month}-" if self.day is None else f"{month}-{self.day:02d}"

    def __repr__(self) -> str:
        return f"DateReading({[str(reason) for reason in self.reasons]})"


def normalise_date(text: str, rule: DateRule | None = None) -> Outcome:
    """``YYYY-MM-DD``, or "" with the reason; idempotent. A partial date gives "" here."""
    reading = read_date(text, rule or DateRule())
    if reading.iso and reading.iso != text and not reading.reasons:
        return Outcome(reading.iso, (Reason.REFORMATTED,))
    return Outcome(reading.iso, reading.reasons) if reading.iso or reading.reasons else MISSING


@lru_cache(maxsize=1 << 17)
def read_date(text: str, rule: DateRule) -> DateReading:
    """A date in one cell."""
    if is_blank(text):
        return DateReading()
    if len(text) > MAX_CHARACTERS:
        return DateReading(reasons=(Reason.TOO_LONG,))
    reasons: list[Reason] = []
    for form in rule.formats:
        try:
            found = datetime.strptime(text.strip(), form).date()
        except ValueError:
            continue
        return _judge(found.year, found.month, found.day, rule, reasons)
    words = plain(text, [])
    if is_placeholder(" ".join(re.findall(r"[A-Z]+", words))) and not any(c.isdigit() for c in words):
        return DateReading(reasons=(Reason.PLACEHOLDER,))
    without_time = _TIME.sub("", words)
    if without_time != words:
        if not re.fullmatch(r"[T ]+0{1,2}:00(?::00(?:\.0+)?)? ?(?:AM)?Z?", words[len(without_time) :]):
            reasons.append(Reason.TIME_REMOVED)
        words = without_time
    words = _WEEKDAY.sub("", _ORDINAL.sub("", words))
    return _read_parts([part for part in _SEPARATORS.split(words) if part], words, rule, reasons)


@lru_cache(maxsize=1 << 17)
def read_date_parts(day: str, month: str, year: str, rule: DateRule) -> DateReading:
    """A date in three cells, any of which may be empty; ``3.0`` counts as 3."""
    if is_blank(day) and is_blank(month) and is_blank(year):
        return DateReading()
    reasons: list[Reason] = []
    numbers = [_part_number(cell) for cell in (day, month, year)]
    if any(number is not None and number < 0 for number in numbers):
        return DateReading(reasons=(Reason.INVALID_FORMAT,))
    day_number, month_number, year_number = numbers
    if year_number is not None and not is_blank(year) and len(year.strip().removesuffix(".0")) <= 2:
        year_number = rule.year_of(year_number)
        reasons.append(Reason.TWO_DIGIT_YEAR)
    return _judge(year_number, month_number, day_number, rule, reasons)


def _part_number(cell: str) -> int | None:
    """The number in a cell, None where it is missing or says unknown, -1 where it is neither."""
    text = plain(cell, [])[:20].removesuffix(".0")
    if not text or _UNKNOWN_PART.fullmatch(text) or is_placeholder(text):
        return None
    if text.isdigit():
        return int(text[:5])
    return _month_number(text) or -1


def _month_number(word: str) -> int | None:
    return _MONTHS.index(word[:3]) + 1 if len(word) <= 9 and word[:3] in _MONTHS else None


def _read_parts(parts: list[str], words: str, rule: DateRule, reasons: list[Reason]) -> DateReading:
    if len(parts) == 1:
        return _read_single(parts[0], rule, reasons)
    if (
        len(parts) == 2
        and parts[1].strip("0") == ""
        and parts[0].isdigit()
        and len(parts[0]) == 5
        and "." in words
    ):
        return _read_single(parts[0], rule, reasons)
    if not 2 <= len(parts) <= 3:
        return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))
    named = [index for index, part in enumerate(parts) if _month_number(part)]
    if (
        any(not (_UNKNOWN_PART.fullmatch(p) or p.isdigit() or _month_number(p)) for p in parts)
        or len(named) > 1
    ):
        return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))
    year_first = len(parts[0]) == 4
    if len(parts) == 2:
        month_text, year_text = (parts[1], parts[0]) if year_first else (parts[0], parts[1])
        if len(year_text) != 4:
            return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))
        return _judge(_number(year_text), _number(month_text), None, rule, reasons)
    if year_first:
        year_text, month_text, day_text = parts
        if named == [2]:
            month_text, day_text = day_text, month_text
    else:
        day_text, month_text, year_text = parts
        if named == [0] or (not named and rule.order == "mdy"):
            day_text, month_text = month_text, day_text
    if len(year_text) not in (2, 4) or (named == [2] and not year_first):
        return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))
    year, month, day = _number(year_text), _number(month_text), _number(day_text)
    if year is not None and len(year_text) == 2:
        year = rule.year_of(year)
        reasons.append(Reason.TWO_DIGIT_YEAR)
    if not named and not year_first and month is not None and day is not None:
        if month > 12 >= day:
            day, month = month, day
            if rule.order == "dmy":
                reasons.append(Reason.US_ORDER)
        elif max(day, month) <= 12 and day != month:
            reasons.append(Reason.DAY_MONTH_SWAP_PLAUSIBLE)
    return _judge(year, month, day, rule, reasons)


def _number(part: str) -> int | None:
    if part.isdigit() and part.strip("0"):
        return int(part)
    return _month_number(part)


def _read_single(part: str, rule: DateRule, reasons: list[Reason]) -> DateReading:
    """A date without separators: 19800303, 03031980, 3MAR1980, 1980, or a spreadsheet's day number."""
    glued = re.fullmatch(r"(\d{1,2})([A-Z]{3,9})(\d{4}|\d{2})", part)
    if glued is not None and _month_number(glued[2]):
        return _read_parts(list(glued.groups()), part, rule, reasons)
    if not part.isdigit():
        return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))
    if len(part) == 8:
        first, second, last = part[:4], part[4:6], part[6:]
        if _is_date(int(first), int(second), int(last), rule) or (
            rule.earliest_year <= int(first) < 2100 and "00" in (second, last)
        ):
            return _judge(_number(first), _number(second), _number(last), rule, reasons)
        return _read_parts([part[:2], part[2:4], part[4:]], part, rule, reasons)
    if len(part) == 4:
        return _judge(int(part), None, None, rule, reasons)
    if len(part) == 5 and part[0] != "0":
        found = _EXCEL_EPOCH + timedelta(days=int(part))
        return _judge(found.year, found.month, found.day, rule, [*reasons, Reason.EXCEL_SERIAL])
    if not part.strip("0"):
        return DateReading(reasons=(*reasons, Reason.PLACEHOLDER))
    return DateReading(reasons=(*reasons, Reason.INVALID_FORMAT))


def _is_date(year: int, month: int, day: int, rule: DateRule) -> bool:
    try:
        return date(year, month, day).year >= rule.earliest_year and year < 2100
    except ValueError:
        return False


def _judge(
    year: int | None, month: int | None, day: int | None, rule: DateRule, reasons: list[Reason]
) -> DateReading:
    """Apply ranges and the rules on defaults to the parts found; an impossible part is invalid."""
    year, month, day = year or None, month or None, day or None
    if year is None and month is None and day is None:
        return DateReading(reasons=unique([*reasons, Reason.PLACEHOLDER]))
    # A leap year and a 31-day month stand in for unknown parts, so that 29 February without a year is
    # possible.
    try:
        whole = date(2000 if year is None else year, 1 if month is None else month, 1 if day is None else day)
    except ValueError:
        return _impossible(year, month, rule, reasons)
    complete = year is not None and month is not None and day is not None
    if complete and whole in DEFAULT_DATES:
        return DateReading(reasons=unique([*reasons, Reason.DEFAULT_DATE]))
    if year is not None and (year < rule.earliest_year or (rule.latest is not None and whole > rule.latest)):
        return DateReading(reasons=unique([*reasons, Reason.OUT_OF_RANGE]))
    if rule.first_of_january == "missing" and month == 1 and day == 1:
        kept = () if year is None else (Reason.PARTIAL_DATE,)
        return DateReading(year, None, None, unique([*reasons, Reason.FIRST_OF_JANUARY, *kept]))
    if not complete:
        reasons.append(Reason.PARTIAL_DATE)
    return DateReading(year, month, day, unique(reasons))


def _impossible(year: int | None, month: int | None, rule: DateRule, reasons: list[Reason]) -> DateReading:
    """A date such as 31 February: the day is lost, and year and month are kept where they are possible."""
    why = [*reasons, Reason.INVALID_FORMAT]
    if year is None or not rule.earliest_year <= year <= (rule.latest.year if rule.latest else 2100):
        return DateReading(reasons=unique(why))
    month = month if month is not None and 1 <= month <= 12 else None
    return DateReading(year, month, None, unique([*why, Reason.PARTIAL_DATE]))
