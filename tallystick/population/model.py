"""A synthetic population and what agencies recorded about it.

Nobody here is real, yet the types redact their ``repr`` as the node's own types do, so that code which is
tried out on this data cannot get used to printing people.

Two layers are kept apart. :class:`Person`, :class:`Residence` and :class:`Address` are the *truth*. A
:class:`HeldSubject` and a :class:`HeldRecord` are what one agency wrote down, with its errors and gaps;
they carry no person id. Only :func:`tallystick.population.write.write_truth` joins the two.

Errors: :class:`PopulationError` for sizes that the identifier ranges cannot hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Literal, NewType

AgencyId = NewType("AgencyId", str)
PersonId = NewType("PersonId", int)

NORTHMOOR_POLICE: Final = AgencyId("northmoor-police")
SOUTHVALE_POLICE: Final = AgencyId("southvale-police")
NORTHMOOR_CARE: Final = AgencyId("northmoor-care")
VALE_NHS: Final = AgencyId("vale-nhs")
HAVEN_CHARITY: Final = AgencyId("haven-charity")

AGENCIES: Final = (NORTHMOOR_POLICE, SOUTHVALE_POLICE, NORTHMOOR_CARE, VALE_NHS, HAVEN_CHARITY)

Area = Literal["northmoor", "southvale"]
Sex = Literal["F", "M"]

RecordType = Literal[
    "incident",
    "risk_assessment",
    "referral",
    "contact",
    "attendance",
    "assessment",
    "tenancy",
    "support_plan",
]

Consent = Literal["given", "refused", "not_recorded"]

REFUGE: Final = "refuge"
"""Marker: the address is a refuge's."""

SAFE_ADDRESS: Final = "safe_address"
"""Marker: the address must not reach anyone who may look for the subject."""

AS_OF: Final = date(2026, 10, 31)
"""The day the population is a picture of, unless the caller says otherwise."""


class PopulationError(ValueError):
    """The population asked for cannot be made; the message says which limit it meets."""


@dataclass(frozen=True, slots=True)
class Address:
    """One dwelling. ``key`` numbers it within the population; ``house`` may hold a flat ("Flat 2, 31")."""

    key: int
    house: str = field(repr=False)
    street: str = field(repr=False)
    town: str = field(repr=False)
    postcode: str = field(repr=False)
    uprn: str = field(repr=False)
    area: Area = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class Residence:
    """Where somebody lived, from a day until they moved (``until`` is None for the present home)."""

    address: Address
    since: date
    until: date | None

    def __repr__(self) -> str:
        return "Residence(redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """One true person. ``residences`` run from the oldest to the present home and are never empty."""

    person_id: PersonId
    household: int
    origin: str
    given: str
    middle: str
    family: str
    former_family: str
    sex: Sex
    born: date
    nhs_number: str
    phone: str
    email: str
    residences: tuple[Residence, ...]

    @property
    def home(self) -> Address:
        return self.residences[-1].address

    def __repr__(self) -> str:
        return f"Person({self.person_id}, redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class Population:
    """Everybody, and which of them each agency holds (in the order of the agency's own numbering).

    ``seed`` also drives what each agency recorded, so that a population is written the same way every time.
    """

    seed: int
    as_of: date
    people: Mapping[PersonId, Person]
    held: Mapping[AgencyId, tuple[PersonId, ...]]

    def __repr__(self) -> str:
        return f"Population(seed={self.seed}, people={len(self.people)}, redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class HeldName:
    """A name under which an agency knows a subject: alias, former or maiden name."""

    given: str
    family: str
    kind: Literal["alias", "former"]

    def __repr__(self) -> str:
        return "HeldName(redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class HeldAddress:
    """An address as an agency wrote it down. ``key`` is the true address: for place ids, never written."""

    key: int
    house: str
    street: str
    town: str
    postcode: str
    uprn: str

    def __repr__(self) -> str:
        return "HeldAddress(redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class HeldRecord:
    """A case record; its fields are text, by field name.

    ``place`` is where it happened, if known. A record about a place alone has an empty ``subject_id``.
    """

    record_id: str
    subject_id: str
    record_type: RecordType
    occurred: date
    fields: Mapping[str, str]
    consent: Consent = "not_recorded"
    place: HeldAddress | None = None
    markers: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"HeldRecord({self.record_type}, redacted)"


@dataclass(frozen=True, slots=True, repr=False)
class HeldSubject:
    """A person as one agency holds them. Empty text is a missing value; ``born`` is ISO text or empty."""

    subject_id: str
    given: str
    middle: str
    family: str
    born: str
    sex: str
    nhs_number: str
    phone: str
    email: str
    consent: Consent
    address: HeldAddress | None
    other_names: tuple[HeldName, ...] = ()
    former_addresses: tuple[HeldAddress, ...] = ()
    records: tuple[HeldRecord, ...] = ()
    markers: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "HeldSubject(redacted)"
