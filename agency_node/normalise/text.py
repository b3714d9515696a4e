"""Shared ground of the normalisers: plain letters and placeholders."""

from __future__ import annotations

import re
from typing import Final

from anyascii import anyascii

from agency_node.normalise.reasons import Reason

MAX_CHARACTERS: Final = 300
"""A longer cell is no name, number or address line; it is dropped, which also bounds the work per cell."""

_SPACES: Final = re.compile(r"\s+")
_APOSTROPHES: Final = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u02b9\u0060\u00b4\u2032", "'"))

PLACEHOLDERS: Final = frozenset(
    {
        "UNKNOWN", "UNK", "UNKN", "NOT KNOWN", "NOTKNOWN", "N K", "NK", "N A", "NA", "NONE", "NULL", "NIL",
        "NOT GIVEN", "NOT STATED", "NOT RECORDED", "NOT SPECIFIED", "NOT PROVIDED", "NOT APPLICABLE",
        "NOT AVAILABLE", "NAN", "NAT", "REFUSED", "DECLINED", "WITHHELD", "ANON", "ANONYMOUS", "A N OTHER",
        "TBC", "TBA", "TBD", "X", "XX", "XXX", "XXXX", "XXXXX", "Z", "ZZ", "ZZZ", "ZZZZ", "NO NAME",
        "NAME UNKNOWN", "NAME NOT KNOWN", "NO FIRST NAME", "NO SURNAME", "NFN", "FNU", "LNU", "NMN",
        "DO NOT USE", "DUPLICATE", "TEST", "DUMMY", "UNKNOWN UNKNOWN",
    }
)  # fmt: skip
"""What people type where they know nothing, as upper-case words."""


def is_blank(text: str) -> bool:
    """True for an empty cell or one of white space only."""
    return not text or text.isspace()


def plain(text: str, reasons: list[Reason]) -> str:
    """``text`` in upper-case ASCII with single spaces; ``reasons`` gains a transliteration."""
    if not text.isascii():
        straight = text.translate(_APOSTROPHES)
        if not straight.isascii():
            reasons.append(Reason.TRANSLITERATED)
        text = anyascii(straight)
    return _SPACES.sub(" ", text).strip().upper()


def is_placeholder(words: str) -> bool:
    """True where the upper-case words are a known way to say nothing."""
    return words in PLACEHOLDERS
