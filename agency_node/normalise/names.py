"""Names of people in the United Kingdom, wherever they come from, in one plain form for matching.

A name becomes upper-case ASCII words. Apostrophes vanish and hyphens become spaces (``O'Brien-Smith`` is
``OBRIEN SMITH``), particles of a family name are joined to it (``van der Berg``, ``VANDERBERG`` and ``Vander
Berg`` agree), titles and suffixes go. ``Jones (née Smith)`` and ``William "Bill"`` give further names, each
of which becomes a further identity of the subject. Nothing here knows a subject: each function maps text to a
value and reasons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from agency_node.normalise.reasons import MISSING, Outcome, Reason, unique
from agency_node.normalise.text import MAX_CHARACTERS, PLACEHOLDERS, is_blank, is_placeholder, plain

_TITLES: Final = frozenset(
    {
        "MR", "MRS", "MS", "MISS", "MSTR", "MASTER", "MX", "MESSRS", "DR", "DOCTOR", "PROF", "PROFESSOR",
        "REV", "REVD", "REVEREND", "FR", "SIR", "DAME", "LADY", "LORD", "HON", "CLLR", "CAPT", "CPT", "COL",
        "SGT", "SGTMJR", "PC", "DC", "DS", "DI", "SRG", "MDM", "MADAM",
    }
)  # fmt: skip
_SUFFIXES: Final = frozenset(
    {
        "JR", "JNR", "JUNIOR", "SR", "SNR", "SENIOR", "II", "III", "ESQ", "ESQUIRE", "OBE", "MBE", "CBE",
        "KBE", "DBE", "BEM", "PHD", "MP", "QC", "KC", "JP", "DECEASED", "DECD",
    }
)  # fmt: skip
_PARTICLES: Final = frozenset(
    {
        "O", "MC", "MAC", "DE", "DEL", "DELLA", "DELLO", "DEGLI", "DI", "DA", "DO", "DOS", "DAS", "DU",
        "LA", "LE", "LO", "VAN", "VON", "VOM", "ZU", "ZUR", "DER", "DEN", "TER", "TEN", "AL", "EL", "BEN",
        "BIN", "BINT", "BINTI", "IBN", "ABU", "UMM", "ST", "SAINT", "NIC", "NI", "FITZ", "AP", "UI",
    }
)  # fmt: skip
_INFANTS: Final = frozenset(
    {
        "BABY", "BABY BOY", "BABY GIRL", "INFANT", "MALE INFANT", "FEMALE INFANT", "BABY OF", "NEWBORN",
        "UNBORN", "UNBORN BABY", "TWIN", "TWIN I", "TWIN II", "TWIN ONE", "TWIN TWO", "MALE", "FEMALE",
        "BOY", "GIRL", "CHILD", "SON OF", "DAUGHTER OF", "SPOUSE", "CLIENT", "PATIENT", "CARER",
    }
)  # fmt: skip
_FORMER: Final = re.compile(
    r"(?:^|[\s(,;/-])(?:NEE|FORMERLY(?: KNOWN AS)?|PREVIOUSLY(?: KNOWN AS)?|MAIDEN NAME|MAIDEN|BORN|"
    r"FORMER NAME|FORMER|PREV|F[./ ]?K[./ ]?A)(?=$|[\s).:,;-])[\s.:,;-]*"
)
_ALIAS: Final = re.compile(
    r"(?:^|[\s(,;/-])(?:ALSO KNOWN AS|KNOWN AS|A[./ ]?K[./ ]?A|ALIAS|GOES BY|PREFERS)"
    r"(?=$|[\s).:,;-])[\s.:,;-]*"
)
_USUAL: Final = re.compile(r"[A-Za-z]{2,}(?: [A-Za-z]+)*")
_WORDS_WITH_A_MEANING: Final = (
    _TITLES | _SUFFIXES | _PARTICLES
    | {word for phrase in PLACEHOLDERS | _INFANTS for word in phrase.split(" ")}
    | {
        "NEE", "FORMERLY", "FORMER", "PREVIOUSLY", "PREV", "MAIDEN", "BORN", "F", "FK", "FKA", "ALSO",
        "KNOWN", "A", "AK", "AKA", "ALIAS", "GOES", "PREFERS",
    }
)  # fmt: skip
"""A name of other words is the name in use and no more."""

_BRACKETED: Final = re.compile(r"\(([^()]*)\)?|\"([^\"]*)\"?|\[([^\[\]]*)\]?")
_NOT_LETTERS: Final = re.compile(r"[^A-Z]+")


@dataclass(frozen=True, slots=True)
class PartReading:
    """What one name cell holds: the name in use, former names, and aliases or nicknames."""

    outcome: Outcome
    former: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"PartReading(<{len(self.former)} former, {len(self.aliases)} aliases>)"


@dataclass(frozen=True, slots=True)
class NameReading:
    """A person's name in use, and each further (given names, family name) pair the cells tell of."""

    given: Outcome
    family: Outcome
    further: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"NameReading(<{len(self.further)} further>)"


@lru_cache(maxsize=1 << 17)
def read_given_names(text: str) -> PartReading:
    """Given names with nicknames and aliases apart; ``BABY BOY`` and other placeholders are dropped."""
    return _read_part(text, family=False)


@lru_cache(maxsize=1 << 17)
def read_family_name(text: str) -> PartReading:
    """A family name with former names apart: ``Jones (nee Smith)``, ``Jones formerly Smith``."""
    return _read_part(text, family=True)


def normalise_given_names(text: str) -> Outcome:
    """The given names in use; idempotent."""
    return read_given_names(text).outcome


def normalise_family_name(text: str) -> Outcome:
    """The family name in use; idempotent."""
    return read_family_name(text).outcome


def read_name(given: str, family: str) -> NameReading:
    """A name given in two cells."""
    first, last = read_given_names(given), read_family_name(family)
    further = [(first.outcome.value, former) for former in (*last.former, *last.aliases)]
    further += [(alias, last.outcome.value) for alias in (*first.aliases, *first.former)]
    return NameReading(first.outcome, last.outcome, tuple(further))


def read_full_name(text: str) -> NameReading:
    """A name in one cell, as ``Mrs Susan Mary Jones (nee Smith)`` or ``JONES, Susan Mary``."""
    reasons: list[Reason] = []
    if is_blank(text):
        return NameReading(MISSING, MISSING)
    if len(text) > MAX_CHARACTERS:
        too_long = Outcome("", (Reason.TOO_LONG,))
        return NameReading(too_long, too_long)
    main, former, aliases = _split_tails(plain(text, reasons), family=False)
    given_text, family_text = _split_full(main)
    given, family = normalise_given_names(given_text), normalise_family_name(family_text)
    whole_reasons = tuple(reasons) + ((Reason.FORMER_NAME_SPLIT,) if former else ())
    family = Outcome(family.value, unique([*whole_reasons, *family.reasons]))
    further: list[tuple[str, str]] = []
    for tail in former:
        tail_given, tail_family = _split_full(tail)
        value = normalise_family_name(tail_family or tail_given).value
        if value:
            further.append((given.value, value))
    for tail in aliases:
        tail_given, tail_family = _split_full(tail)
        alias = normalise_given_names(tail_given or tail_family).value
        if alias:
            further.append((alias, normalise_family_name(tail_family).value if tail_given else family.value))
    if aliases:
        given = Outcome(given.value, unique([*given.reasons, Reason.ALIAS_SPLIT]))
    return NameReading(given, family, tuple(further))


def _split_full(text: str) -> tuple[str, str]:
    """Given names and family name of one plain full name without tails."""
    before, comma, after = text.partition(",")
    after_words = [word for word in _words(after) if word not in _SUFFIXES]
    if comma and after_words:
        return " ".join(after_words), before
    words = _words(before)
    while len(words) > 1 and words[0] in _TITLES:
        words = words[1:]
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words = words[:-1]
    if len(words) < 2:
        return "", " ".join(words)
    start = len(words) - 1
    while start > 1 and words[start - 1] in _PARTICLES:
        start -= 1
    return " ".join(words[:start]), " ".join(words[start:])


def _words(text: str) -> list[str]:
    return [word for word in _NOT_LETTERS.split(text.replace("'", "")) if word]


def _read_part(text: str, *, family: bool) -> PartReading:
    if len(text) <= MAX_CHARACTERS and _USUAL.fullmatch(text):
        current = text.upper()
        if _WORDS_WITH_A_MEANING.isdisjoint(current.split(" ")):
            return PartReading(Outcome(current, () if current == text else (Reason.REFORMATTED,)))
    return _read_unusual_part(text, family=family)


def _read_unusual_part(text: str, *, family: bool) -> PartReading:
    if is_blank(text):
        return PartReading(MISSING)
    if len(text) > MAX_CHARACTERS:
        return PartReading(Outcome("", (Reason.TOO_LONG,)))
    reasons: list[Reason] = []
    former: list[str] = []
    aliases: list[str] = []
    current = plain(text, reasons)
    while True:
        main, more_former, more_aliases = _split_tails(current, family=family)
        former += more_former
        aliases += more_aliases
        after = _clean_words(main, reasons, family=family)
        if after == current:
            break
        current = after
    if is_placeholder(current) or (not family and current in _INFANTS):
        return PartReading(Outcome("", (*unique(reasons), Reason.PLACEHOLDER)))
    if not current:
        return PartReading(Outcome("", (*unique(reasons), Reason.NO_LETTERS)))
    former_names = _clean_tails(former, current, family=family)
    alias_names = _clean_tails(aliases, current, family=family)
    if former_names:
        reasons.append(Reason.FORMER_NAME_SPLIT)
    if alias_names:
        reasons.append(Reason.ALIAS_SPLIT)
    if len(current) == 1:
        reasons.append(Reason.INITIAL_ONLY)
    if current != text and not reasons:
        reasons.append(Reason.REFORMATTED)
    return PartReading(Outcome(current, unique(reasons)), former_names, alias_names)


def _split_tails(text: str, *, family: bool) -> tuple[str, list[str], list[str]]:
    """The name in use (empty only if all is empty), former names and aliases of one plain text."""
    former: list[str] = []
    aliases: list[str] = []

    def take(match: re.Match[str]) -> str:
        inner = next((group for group in match.groups() if group), "")
        keyword = _FORMER.match(inner) or _ALIAS.match(inner)
        if keyword is not None:
            return f" {inner} "
        in_round_brackets = match.group(0).startswith("(")
        (former if family and in_round_brackets else aliases).append(inner)
        return " "

    main = _BRACKETED.sub(take, text)
    former_at = _FORMER.search(main)
    alias_at = _ALIAS.search(main)
    marks = sorted(
        [
            (m.start(), m.end(), tails)
            for m, tails in ((former_at, former), (alias_at, aliases))
            if m is not None
        ],
        key=lambda mark: mark[0],
    )
    for (_, end, tails), stop in zip(marks, [*(m[0] for m in marks[1:]), len(main)], strict=False):
        tails.append(main[end:stop])
    if marks:
        main = main[: marks[0][0]]
    parts = [part for part in main.split("/") if _words(part)]
    if len(parts) > 1 and not is_placeholder(" ".join(_words(main))):
        main = parts[0]
        aliases += parts[1:]
    if not _words(main):
        spare = next((tails for tails in (former, aliases) if any(_words(tail) for tail in tails)), None)
        if spare is not None:
            main = spare.pop(next(i for i, tail in enumerate(spare) if _words(tail)))
    return main, former, aliases


def _clean_tails(tails: list[str], current: str, *, family: bool) -> tuple[str, ...]:
    cleaned: dict[str, None] = {}
    for tail in tails:
        value = _read_part(tail, family=family).outcome.value if tail.strip() else ""
        if value and value != current:
            cleaned[value] = None
    return tuple(cleaned)


def _clean_words(text: str, reasons: list[Reason], *, family: bool) -> str:
    words = _words(text)
    while len(words) > 1 and words[0] in _TITLES:
        words = words[1:]
        reasons.append(Reason.TITLE_REMOVED)
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words = words[:-1]
        reasons.append(Reason.SUFFIX_REMOVED)
    if not family:
        if len(words) == 1 and words[0] in {"MR", "MRS", "MS", "MISS", "DR", "MX"}:
            reasons.append(Reason.TITLE_REMOVED)
            return ""
        return " ".join(words)
    return _join_particles(words, reasons)


def _join_particles(words: list[str], reasons: list[Reason]) -> str:
    joined: list[str] = []
    prefix = ""
    for position, word in enumerate(words):
        if word in _PARTICLES and position < len(words) - 1:
            prefix += "ST" if word == "SAINT" else word
            reasons.append(Reason.PARTICLE_JOINED)
        else:
            joined.append(prefix + word)
            prefix = ""
    return " ".join(joined)
