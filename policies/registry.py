"""The federation registry: who the agencies are, their keys, and their officers with roles and keys.

Signed by the threshold of root keys, versioned, and expiring. Roles and organisations are looked up here,
never taken from what an officer signed. An officer who has left in good order gets a `not_after`: what was
signed before stays good. An officer who is *removed* is distrusted: nothing that key ever signed counts any
more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from crypto.keys import SealingPublicKey, VerifyKey
from policies.ids import AgencyId, Email, FederationId, Line, PersonId, SpiffeUri
from policies.vocabulary import AgencyKind, OfficerRole


@dataclass(frozen=True, slots=True)
class Agency:
    """An agency and the keys of its node."""

    id: AgencyId
    kind: AgencyKind
    name: Line
    node_verify_key: VerifyKey
    sealing_key: SealingPublicKey
    spiffe: SpiffeUri
    contact: Email


@dataclass(frozen=True, slots=True)
class Officer:
    """A key of an officer, with the roles that the organisation has given to the person."""

    person: PersonId
    organisation: AgencyId
    roles: tuple[OfficerRole, ...]
    verify_key: VerifyKey
    name: Line | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if not self.roles or len(set(self.roles)) != len(self.roles):
            raise ValueError("an officer has at least one role, each listed once")

    def valid_at(self, moment: datetime) -> bool:
        """Whether the officer was in post."""
        return self.not_after is None or moment <= self.not_after


@dataclass(frozen=True, slots=True)
class Registry:
    """`registry/v1`. `minimum_version` is the oldest version that anyone may still accept."""

    KIND: ClassVar[str] = "registry/v1"

    federation: FederationId
    version: int
    minimum_version: int
    expires: datetime
    broker_verify_key: VerifyKey
    broker_spiffe: SpiffeUri
    agencies: tuple[Agency, ...]
    officers: tuple[Officer, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_version <= self.version:
            raise ValueError("minimum_version must be from 1 to version")
        ids = {agency.id for agency in self.agencies}
        if len(ids) != len(self.agencies):
            raise ValueError("an agency is listed twice")
        for agency in self.agencies:
            if agency.spiffe != f"spiffe://{self.federation}/agency/{agency.id}":
                raise ValueError(f"the SPIFFE URI of {agency.id} does not name this federation and agency")
        if self.broker_spiffe != f"spiffe://{self.federation}/broker":
            raise ValueError("the broker's SPIFFE URI does not name this federation")
        if not {officer.organisation for officer in self.officers} <= ids:
            raise ValueError("an officer belongs to an agency that is not listed")
        self._check_keys()

    def _check_keys(self) -> None:
        keys = [agency.node_verify_key for agency in self.agencies]
        keys += [officer.verify_key for officer in self.officers]
        keys.append(self.broker_verify_key)
        if len({key.raw for key in keys}) != len(keys):
            raise ValueError(
                "a verify key is listed twice: every node and officer key must be its holder's alone"
            )

    def agency(self, agency: str) -> Agency | None:
        """The agency with this id."""
        return next((item for item in self.agencies if item.id == agency), None)

    def officer_with_key(self, key: VerifyKey) -> Officer | None:
        """The officer whose key this is."""
        return next((item for item in self.officers if item.verify_key == key), None)

    def officers_of(self, agency: str) -> tuple[Officer, ...]:
        """The officers of an agency."""
        return tuple(item for item in self.officers if item.organisation == agency)

    @property
    def officer_keys(self) -> tuple[VerifyKey, ...]:
        """The keys of all officers."""
        return tuple(item.verify_key for item in self.officers)
