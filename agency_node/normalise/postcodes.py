"""UK postcodes (BS 7666 part 2 form), without a space: ``SW1A1AA``.

Pseudo postcodes (ZZ99 3VZ for no fixed abode, ZZ99 3WZ not known and the rest of the NHS ``ZZ99`` list),
placeholders and outward codes alone identify no address and are dropped. Where only a letter or only a digit
can stand, O and 0 or I and 1 are exchanged.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from agency_node.normalise.reasons import MISSING, Outcome, Reason
from agency_node.normalise.text import MAX_CHARACTERS, is_blank, is_placeholder, plain

_POSTCODE: Final = re.compile(
    r"(?:GIR0AA|(?:[A-PR-UWYZ](?:[0-9]{1,2}|[A-HK-Y][0-9]|[A-HK-Y][0-9](?:[0-9]|[ABEHMNPRV-Y])|[0-9][A-HJKPS-UW]))"
    r"[0-9][ABD-HJLNP-UW-Z]{2}|BFPO[0-9]{1,4}|(?:ASCN|STHL|TDCU|BBND|BIQQ|FIQQ|PCRN|SIQQ|TKCA)1ZZ)"
)
_USUAL: Final = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}")
_OUTWARD: Final = re.compile(r"[A-Z]{1,2}[0-9][0-9A-Z]?(?:[0-9])?")
_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Z0-9]+")
_NO_ABODE: Final = frozenset(
    {"NFA", "NOFIXEDABODE", "NOFIXEDADDRESS", "HOMELESS", "ROUGHSLEEPER", "NF11NF", "NFA1NFA"}
)
_DUMMIES: Final = frozenset({"AA11AA", "A11AA", "AB11AB", "XX11XX", "AA999AA", "ZZ11ZZ", "N11NN"})
_TO_DIGIT: Final = str.maketrans("OI", "01")
_TO_LETTER: Final = str.maketrans("01", "OI")


@lru_cache(maxsize=1 << 17)
def normalise_postcode(text: str) -> Outcome:
    """A full postcode without a space, or "" with the reason; idempotent."""
    if _USUAL.fullmatch(text):
        code = text.replace(" ", "")
        if _POSTCODE.fullmatch(code) and not _says_nothing(code):
            return Outcome(code, () if code == text else (Reason.REFORMATTED,))
    if is_blank(text):
        return MISSING
    if len(text) > MAX_CHARACTERS:
        return Outcome("", (Reason.TOO_LONG,))
    words = plain(text, [])
    code = _NOT_ALPHANUMERIC.sub("", words)
    if code in _NO_ABODE:
        return Outcome("", (Reason.NO_FIXED_ABODE,))
    if code.startswith("ZZ99") or code in _DUMMIES:
        return Outcome("", (Reason.PSEUDO_POSTCODE,))
    if not code or is_placeholder(code) or is_placeholder(" ".join(_NOT_ALPHANUMERIC.split(words)).strip()):
        return Outcome("", (Reason.PLACEHOLDER,))
    if _POSTCODE.fullmatch(code):
        return Outcome(code, () if code == text else (Reason.REFORMATTED,))
    corrected = _correct(code)
    if _POSTCODE.fullmatch(corrected):
        return Outcome(corrected, (Reason.CHARACTER_CORRECTED,))
    if _OUTWARD.fullmatch(code):
        return Outcome("", (Reason.OUTWARD_CODE_ONLY,))
    return Outcome("", (Reason.INVALID_FORMAT,))


def _says_nothing(code: str) -> bool:
    return code in _NO_ABODE or code in _DUMMIES or code.startswith("ZZ99")


def normalise_foreign_postcode(text: str) -> Outcome:
    """Letters and digits of a postal code of any country, at most 12, upper case; idempotent."""
    if is_blank(text):
        return MISSING
    words = plain(text[: MAX_CHARACTERS + 1], [])
    code = _NOT_ALPHANUMERIC.sub("", words.removesuffix(".0"))
    if not code or is_placeholder(code) or is_placeholder(" ".join(_NOT_ALPHANUMERIC.split(words)).strip()):
        return Outcome("", (Reason.PLACEHOLDER,))
    if len(code) > 12:
        return Outcome("", (Reason.TOO_LONG,))
    return Outcome(code, () if code == text else (Reason.REFORMATTED,))


def _correct(code: str) -> str:
    """Exchange look-alikes where the form leaves no doubt: the inward code is a digit and two letters."""
    if not 5 <= len(code) <= 7:
        return code
    outward, inward = code[:-3], code[-3:]
    inward = inward[0].translate(_TO_DIGIT) + inward[1:].translate(_TO_LETTER)
    outward = outward[0].translate(_TO_LETTER) + outward[1:]
    if len(outward) == 2:
        outward = outward[0] + outward[1].translate(_TO_DIGIT)
    elif outward[1].isalpha():
        outward = outward[:2] + outward[2].translate(_TO_DIGIT) + outward[3:]
    return outward + inward
