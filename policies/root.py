"""The root document: which keys may sign the federation registry, and how many of them must.

After The Update Framework (https://theupdateframework.github.io/specification/latest/, section 5.3): a new
root is signed by the threshold of the old root and by its own, and its version is the old one plus one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from crypto.keys import VerifyKey
from policies.ids import AgencyId, FederationId, PersonId


@dataclass(frozen=True, slots=True)
class RootKey:
    """A root key, the person who holds it and the organisation that answers for the person."""

    person: PersonId
    organisation: AgencyId
    verify_key: VerifyKey


@dataclass(frozen=True, slots=True)
class Root:
    """`root/v1`. A threshold counts distinct keys *and* persons, from at least `minimum_organisations`."""

    KIND: ClassVar[str] = "root/v1"

    federation: FederationId
    version: int
    expires: datetime
    threshold: int
    minimum_organisations: int
    keys: tuple[RootKey, ...]

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError("a root's version starts at 1")
        if len({key.verify_key for key in self.keys}) != len(self.keys):
            raise ValueError("a root lists a key twice")
        persons = {key.person for key in self.keys}
        if not 1 <= self.threshold <= len(persons):
            raise ValueError("the threshold must be from 1 to the number of distinct persons who hold keys")
        organisations = {key.organisation for key in self.keys}
        if not 1 <= self.minimum_organisations <= min(self.threshold, len(organisations)):
            raise ValueError(
                "minimum_organisations must be from 1 to the threshold and to the number of organisations"
            )
