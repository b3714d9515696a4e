"""Sex and gender codes of NHS, police and local systems as ``M``, ``F`` or ``X``.

Sources: NHS Data Dictionary PERSON STATED GENDER CODE (1, 2, 9, X) and PERSON GENDER CODE (0, 1, 2, 9); PDS
FHIR ``administrative-gender`` (male, female, other, unknown); PNC and crime systems (M, F, U); words people
type. A code that means "not known" is a missing value, not a third sex.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from agency_node.normalise.reasons import MISSING, Outcome, Reason
from agency_node.normalise.text import MAX_CHARACTERS, is_blank, is_placeholder, plain

_WORDS: Final = {
    "M": ("M", "1", "01", "MALE", "MAN", "BOY", "MR", "MASC", "MASCULINE", "TRANS MAN", "TRANSMAN",
    "MALE INCLUDING TRANS MAN"), "F": (
        "F", "2", "02", "FEMALE", "WOMAN", "GIRL", "MRS", "MISS", "MS", "FEM", "FEMININE", "TRANS WOMAN",
        "TRANSWOMAN", "FEMALE INCLUDING TRANS WOMAN",
    ),
    "X": (
        "X", "O", "I", "3", "OTHER", "INDETERMINATE", "INTERSEX", "NON BINARY", "NONBINARY", "NB", "MX",
        "UNSPECIFIED SEX", "ANOTHER",
    ),
}  # fmt: skip
_CODES: Final = {word: code for code, words in _WORDS.items() for word in words}
_NOT_KNOWN: Final = frozenset(
    {"0", "00", "9", "09", "U", "N", "NS", "P", "-", "?", "PREFER NOT TO SAY", "NOT DISCLOSED", "UNSPECIFIED"}
)


@lru_cache(maxsize=1 << 12)
def normalise_sex(text: str) -> Outcome:
    """``M``, ``F``, ``X`` or "" with the reason; idempotent."""
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    reasons: list[Reason] = []
    words = plain(text, reasons)
    words = words[:-2] if words.endswith(".0") else words.rstrip(".")
    spaced = " ".join(words.replace("-", " ").replace("/", " ").replace("_", " ").split()) or words
    code = _CODES.get(spaced)
    if code is not None:
        return Outcome(code, () if code == text else (Reason.CODE_TRANSLATED,))
    if spaced in _NOT_KNOWN or is_placeholder(spaced):
        return Outcome("", (Reason.NOT_KNOWN_CODE,))
    return Outcome("", (Reason.UNKNOWN_CODE,))
