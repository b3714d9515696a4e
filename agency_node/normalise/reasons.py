"""Why a normaliser changed, dropped or flagged a value: a closed vocabulary, safe to show and to log."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Effect = Literal["changed", "dropped", "flagged"]


class Reason(StrEnum):
    """One thing that normalisation did to, or noticed about, a value."""

    # changed: the value is kept in another form
    REFORMATTED = "reformatted"
    TRANSLITERATED = "transliterated"
    TITLE_REMOVED = "title-removed"
    SUFFIX_REMOVED = "suffix-removed"
    PARTICLE_JOINED = "particle-joined"
    FORMER_NAME_SPLIT = "former-name-split"
    ALIAS_SPLIT = "alias-split"
    ABBREVIATION_EXPANDED = "abbreviation-expanded"
    CHARACTER_CORRECTED = "character-corrected"
    EXTENSION_REMOVED = "extension-removed"
    COUNTRY_REMOVED = "country-removed"
    CODE_TRANSLATED = "code-translated"
    LEADING_ZEROS_REMOVED = "leading-zeros-removed"
    LEADING_ZEROS_RESTORED = "leading-zeros-restored"
    TIME_REMOVED = "time-removed"
    EXCEL_SERIAL = "excel-serial"
    # flagged: the value is kept, and somebody may want to look
    US_ORDER = "us-order"
    DAY_MONTH_SWAP_PLAUSIBLE = "day-month-swap-plausible"
    TWO_DIGIT_YEAR = "two-digit-year"
    PARTIAL_DATE = "partial-date"
    INITIAL_ONLY = "initial-only"
    TEST_RANGE = "test-range"
    TEMPORARY_NUMBER = "temporary-number"
    SEVERAL_VALUES = "several-values"
    CARE_OF = "care-of"
    # dropped: the value is treated as missing
    PLACEHOLDER = "placeholder"
    NO_LETTERS = "no-letters"
    INVALID_FORMAT = "invalid-format"
    INVALID_CHECK_DIGIT = "invalid-check-digit"
    DEFAULT_DATE = "default-date"
    FIRST_OF_JANUARY = "first-of-january"
    OUT_OF_RANGE = "out-of-range"
    PSEUDO_POSTCODE = "pseudo-postcode"
    OUTWARD_CODE_ONLY = "outward-code-only"
    NO_FIXED_ABODE = "no-fixed-abode"
    NOT_KNOWN_CODE = "not-known-code"
    UNKNOWN_CODE = "unknown-code"
    NUMBER_DAMAGED = "number-damaged"
    TOO_LONG = "too-long"

    __hash__ = str.__hash__  # an enumeration's own is slow, and there is one to be had for every cell

    @property
    def effect(self) -> Effect:
        """Whether this reason means that the value was changed, dropped or only flagged."""
        if self in _DROPPED:
            return "dropped"
        return "flagged" if self in _FLAGGED else "changed"


_FLAGGED: Final = frozenset(
    {
        Reason.US_ORDER,
        Reason.DAY_MONTH_SWAP_PLAUSIBLE,
        Reason.TWO_DIGIT_YEAR,
        Reason.PARTIAL_DATE,
        Reason.INITIAL_ONLY,
        Reason.TEST_RANGE,
        Reason.TEMPORARY_NUMBER,
        Reason.SEVERAL_VALUES,
        Reason.CARE_OF,
    }
)
_DROPPED: Final = frozenset(
    {
        Reason.PLACEHOLDER,
        Reason.NO_LETTERS,
        Reason.INVALID_FORMAT,
        Reason.INVALID_CHECK_DIGIT,
        Reason.DEFAULT_DATE,
        Reason.FIRST_OF_JANUARY,
        Reason.OUT_OF_RANGE,
        Reason.PSEUDO_POSTCODE,
        Reason.OUTWARD_CODE_ONLY,
        Reason.NO_FIXED_ABODE,
        Reason.NOT_KNOWN_CODE,
        Reason.UNKNOWN_CODE,
        Reason.NUMBER_DAMAGED,
        Reason.TOO_LONG,
    }
)

EXPLANATIONS: Final[dict[Reason, str]] = {
    Reason.REFORMATTED: "case, spaces or punctuation changed",
    Reason.TRANSLITERATED: "accents or another script written in plain letters",
    Reason.TITLE_REMOVED: "a title such as Mrs or Dr removed",
    Reason.SUFFIX_REMOVED: "a suffix such as Jr or OBE removed",
    Reason.PARTICLE_JOINED: "a particle such as O', Mc or van der joined to the name",
    Reason.FORMER_NAME_SPLIT: "a former name (nee, formerly) made a further identity",
    Reason.ALIAS_SPLIT: "an alias or nickname made a further identity",
    Reason.ABBREVIATION_EXPANDED: "an abbreviation such as Rd or Ave written out",
    Reason.CHARACTER_CORRECTED: "letter O and digit 0, or I and 1, exchanged where only one can stand",
    Reason.EXTENSION_REMOVED: "a telephone extension removed",
    Reason.COUNTRY_REMOVED: "a country or county removed from an address",
    Reason.CODE_TRANSLATED: "a code translated to this system's letter",
    Reason.LEADING_ZEROS_REMOVED: "leading zeros removed",
    Reason.LEADING_ZEROS_RESTORED: "leading zeros that a spreadsheet removed put back",
    Reason.TIME_REMOVED: "a time of day removed from a date",
    Reason.EXCEL_SERIAL: "a spreadsheet's day number read as a date",
    Reason.US_ORDER: "a date possible only in month/day order",
    Reason.DAY_MONTH_SWAP_PLAUSIBLE: "day and month could be the other way round",
    Reason.TWO_DIGIT_YEAR: "a year of two digits was given a century",
    Reason.PARTIAL_DATE: "only part of the date is known",
    Reason.INITIAL_ONLY: "only an initial is given",
    Reason.TEST_RANGE: "a number from a range reserved for tests or fiction",
    Reason.TEMPORARY_NUMBER: "a temporary number, which changes when a permanent one is issued",
    Reason.SEVERAL_VALUES: "several values in one cell; the first valid one was used",
    Reason.CARE_OF: "a care-of address",
    Reason.PLACEHOLDER: "a placeholder such as UNKNOWN, N/A or all-equal digits",
    Reason.NO_LETTERS: "nothing usable was left of the value",
    Reason.INVALID_FORMAT: "not a valid value of this field",
    Reason.INVALID_CHECK_DIGIT: "the check digit is wrong",
    Reason.DEFAULT_DATE: "a system's default date",
    Reason.FIRST_OF_JANUARY: "1 January, the usual default for an unknown birthday; the year was kept",
    Reason.OUT_OF_RANGE: "outside the possible range",
    Reason.PSEUDO_POSTCODE: "a pseudo postcode such as ZZ99",
    Reason.OUTWARD_CODE_ONLY: "only the first half of a postcode",
    Reason.NO_FIXED_ABODE: "no fixed abode",
    Reason.NOT_KNOWN_CODE: "a code that means not known or not specified",
    Reason.UNKNOWN_CODE: "a code that is not in the code list",
    Reason.NUMBER_DAMAGED: "a number damaged by a spreadsheet (1.23E+09)",
    Reason.TOO_LONG: "longer than any real value of this field",
}
"""Plain English for each reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A normalised value ("" when missing or dropped) and the reasons, in the order in which they arose."""

    value: str
    reasons: tuple[Reason, ...] = ()

    @property
    def dropped(self) -> bool:
        """True where something was given and nothing usable was left."""
        return not self.value and any(reason.effect == "dropped" for reason in self.reasons)

    def __repr__(self) -> str:
        return f"Outcome(<{'value' if self.value else 'empty'}>, {[str(reason) for reason in self.reasons]})"


MISSING: Final = Outcome("")
"""The outcome of an empty cell."""


def unique(reasons: list[Reason]) -> tuple[Reason, ...]:
    """The reasons without repeats, first appearance first."""
    return tuple(dict.fromkeys(reasons))
