"""Small id types: strings that could only be built if they have the right shape.

Each type is a `str`, so it sorts, hashes and serialises as one, while mypy keeps an agency id out of a person
id's place. Building one from a bad string raises `IdError`, which never repeats the string (it may be
personal data).
"""

import re
from typing import ClassVar, Self


class IdError(ValueError):
    """A string does not have the shape that its id type demands."""


class Text(str):
    """A string that matches `PATTERN` in full."""

    __slots__ = ()
    PATTERN: ClassVar[str]
    SHAPE: ClassVar[str]

    def __new__(cls, text: str) -> Self:
        if not isinstance(text, str) or re.fullmatch(cls.PATTERN, text, re.ASCII) is None:
            raise IdError(f"not a {cls.__name__}: it must be {cls.SHAPE}")
        return super().__new__(cls, text)


class _Slug(Text):
    __slots__ = ()
    PATTERN = r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*"
    SHAPE = "1 to 63 lower-case letters, digits and single hyphens"


class FederationId(_Slug):
    """A federation, as in `spiffe://<federation>/agency/<id>`."""

    __slots__ = ()


class AgencyId(_Slug):
    """An agency of the federation."""

    __slots__ = ()


class LinkageId(_Slug):
    """A named, agreed matching project."""

    __slots__ = ()


class PolicyId(_Slug):
    """A sharing policy; its versions share the id."""

    __slots__ = ()


class PersonId(Text):
    """An officer: one human being, whatever number of keys and roles."""

    __slots__ = ()
    PATTERN = r"(?=.{1,63}$)[a-z0-9]+([._-][a-z0-9]+)*"
    SHAPE = "1 to 63 lower-case letters and digits, joined by single dots, hyphens or underscores"


class DocumentId(Text):
    """A request, decision, release, receipt, approval or recall."""

    __slots__ = ()
    PATTERN = r"[a-z0-9][a-z0-9-]{6,62}[a-z0-9]"
    SHAPE = "8 to 64 lower-case letters, digits and hyphens"


class Name(Text):
    """A machine name: projection, exact token, record type, field or marker."""

    __slots__ = ()
    PATTERN = r"[a-z][a-z0-9]*([_-][a-z0-9]+)*"
    SHAPE = "lower-case letters and digits joined by single hyphens or underscores, starting with a letter"


class RecordType(Name):
    """A kind of record: incident, risk_assessment, referral, contact, tenancy ..."""

    __slots__ = ()


class FieldName(Name):
    """A field of a record."""

    __slots__ = ()


class Marker(Name):
    """A handling marker on a record or field."""

    __slots__ = ()


class Hash256(Text):
    """A SHA-256 in lower-case hex."""

    __slots__ = ()
    PATTERN = r"[0-9a-f]{64}"
    SHAPE = "64 lower-case hexadecimal digits (a SHA-256)"


class HexBytes(Text):
    """Bytes in lower-case hex."""

    __slots__ = ()
    PATTERN = r"([0-9a-f]{2}){1,1024}"
    SHAPE = "1 to 1024 bytes in lower-case hexadecimal"


# Control, zero-width and direction-changing characters, with which a text could look like another.
_UNSEEN = r"\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff"


class Line(Text):
    """One line of text for people: 1 to 300 characters without control characters."""

    __slots__ = ()
    PATTERN = rf"(?=\S)[^\x00-\x1f{_UNSEEN}]{{1,300}}(?<=\S)"
    SHAPE = "one line of 1 to 300 printable characters without leading or trailing blanks"


class Prose(Text):
    """A paragraph for people: 1 to 4000 characters; line feeds are allowed, other control characters are
    not.
    """

    __slots__ = ()
    PATTERN = rf"(?=\S)[^\x00-\x09\x0b-\x1f{_UNSEEN}]{{1,4000}}(?<=\S)"
    SHAPE = "text of 1 to 4000 printable characters without leading or trailing blanks"


class UnitDecimal(Text):
    """A number from 0 to 1 written as a decimal, because signed documents hold no floats."""

    __slots__ = ()
    PATTERN = r"0\.[0-9]{1,6}|1\.0{1,6}"
    SHAPE = 'a decimal between "0.0" and "1.0" with up to six places'


class SpiffeUri(Text):
    """A TLS identity: `spiffe://<federation>/agency/<id>` or `spiffe://<federation>/broker`."""

    __slots__ = ()
    PATTERN = r"spiffe://[a-z0-9-]{1,63}/(agency/[a-z0-9-]{1,63}|broker)"
    SHAPE = "spiffe://<federation>/agency/<id> or spiffe://<federation>/broker"


class HttpsUrl(Text):
    """An https address."""

    __slots__ = ()
    PATTERN = r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/%-]*)?"
    SHAPE = "an https:// address without query"


class Email(Text):
    """A contact address."""

    __slots__ = ()
    PATTERN = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
    SHAPE = "an e-mail address"


class LinkTokenText(Text):
    """A link token as text: 128 bits in lower-case base32 without padding."""

    __slots__ = ()
    PATTERN = r"[a-z2-7]{26}"
    SHAPE = "26 characters of lower-case base32"


class FieldValue(Text):
    """A value of a record's field as it is released: up to 20,000 characters, line feeds and tabs allowed,
    other control characters and unseen ones are not.
    """

    __slots__ = ()
    _FORBIDDEN: ClassVar[str] = rf"\x00-\x08\x0b-\x1f{_UNSEEN}"
    PATTERN = rf"[^{_FORBIDDEN}]{{0,20000}}"
    SHAPE = "text of at most 20,000 characters without control or unseen characters"

    @classmethod
    def cleaned(cls, text: str) -> str:
        """The text without the characters that a value may not have."""
        return re.sub(f"[{cls._FORBIDDEN}]", "", text)
