"""One request on its way through the holder: under decision, ready to be weighed, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from agency_node.disclosure.decide import Weighed
from agency_node.disclosure.model import StoredRequest
from agency_node.disclosure.records import Holding
from agency_node.disclosure.vault import RequestContents
from agency_node.documents import ActivePolicy
from crypto.envelope import Envelope
from policies.disclosure import DisclosureRequest, RefusalCode
from policies.ids import Hash256
from policies.registry import Registry
from policies.requests import ApprovalTally, VerifiedRequest
from policies.sharing import SharingPolicy
from policies.vocabulary import Strength


@dataclass(frozen=True, slots=True)
class Case:
    """One request under decision."""

    stored: StoredRequest
    request: DisclosureRequest
    contents: RequestContents = field(repr=False)
    registry: Registry = field(repr=False)
    now: datetime
    asked: datetime
    approvals: tuple[Envelope, ...] = field(repr=False)
    #: Set where what was released is corrected: until when the recipient may keep it.
    until: datetime | None = None

    @property
    def hash(self) -> Hash256:
        """The request's document hash."""
        return Hash256(self.stored.request_hash)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is released; `why` is for this agency's own record, the requester learns the code alone.

    `told` takes its place where the code would say something of what is held.
    """

    code: RefusalCode
    why: str
    policy: SharingPolicy | None = None
    weighed: Weighed | None = None
    alarm: str | None = None
    told: RefusalCode | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nothing that is held may be looked at, for this agency's own record.

    The requester sees what it would see if nothing were held: the same words, at the same time.
    """

    code: RefusalCode
    why: str
    alarm: str | None = None
    #: Whether it could not be found out, and may be another time.
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that must be verified before a field is looked at has been."""

    active: ActivePolicy
    verified: VerifiedRequest
    tally: ApprovalTally
    emergency: bool
    strength: Strength
    known: Holding | Closed

    @property
    def holding(self) -> Holding | None:
        """What is held and may be looked at."""
        return None if isinstance(self.known, Closed) else self.known

    @property
    def alarm(self) -> str | None:
        """What somebody must look at."""
        return self.known.alarm if isinstance(self.known, Closed) else None
