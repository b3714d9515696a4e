"""What a node reads from its own data: subjects, each known name and address of them, and case records.

Everything here is personal data. Every type redacts its ``repr``; none of it may be logged.

The values of an :class:`Identity` are normalised by :mod:`agency_node.normalise`: ASCII, upper case (e-mail:
lower case), single spaces, no punctuation in names. The linkage field names and the form of each value:

==================  ==============================================================================
``given_names``     ``SUSAN MARY``
``family_name``     ``OBRIEN``, ``SMITH JONES`` (particles are joined: ``VANDERBERG``)
``date_of_birth``   ``YYYY-MM-DD``, only when the whole date is known
``birth_year``      ``YYYY``; derived, present for a partial date too
``birth_day_month`` ``MM-DD``; derived; one half may be empty (``03-`` or ``-14``)
``sex``             ``M``, ``F`` or ``X``
``house``           ``FLAT 2 14``, ``14B``, ``ROSE COTTAGE``
``street``          ``HIGH STREET``
``town``            ``LEEDS``
``address``         house and street, derived
``postcode``        ``SW1A1AA`` (no space)
``nhs_number``      10 digits
``upn``             13 characters
``phone``           E.164, ``+447700900123``
``email``           ``a.person@example.org``
``uprn``            digits, no leading zero
==================  ==============================================================================

A field that is missing, or was dropped because it identified nobody, is absent from the mapping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, NewType

SubjectId = NewType("SubjectId", str)
"""The agency's own number of a subject. It never leaves the node."""

RecordId = NewType("RecordId", str)
"""The agency's own number of a case record."""

SubjectType = Literal["person", "place"]

LINKAGE_FIELDS: Final = (
    "given_names",
    "family_name",
    "date_of_birth",
    "birth_year",
    "birth_day_month",
    "sex",
    "house",
    "street",
    "town",
    "address",
    "postcode",
    "nhs_number",
    "upn",
    "phone",
    "email",
    "uprn",
)
"""Every field name that an identity can hold; the feature identifiers of a linkage schema are among these."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One way in which a subject is known: normalised values by linkage field name, missing fields absent."""

    fields: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Identity(<{len(self.fields)} fields>)"


@dataclass(frozen=True, slots=True)
class Subject:
    """A person or place. ``identities[0]`` is the current one; aliases, former names and addresses follow."""

    subject_id: SubjectId
    subject_type: SubjectType
    identities: tuple[Identity, ...]
    markers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Subject(<{self.subject_type}, {len(self.identities)} identities>)"


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """Something an agency wrote about a subject. Markers are words such as ``refuge`` or ``restricted``."""

    record_id: RecordId
    subject_id: SubjectId
    record_type: str
    occurred: date | None
    fields: Mapping[str, str]
    markers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"CaseRecord(<{self.record_type}, {len(self.fields)} fields>)"
