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

    Where even the code would say too much, `told` takes its place.
    """

    code: RefusalCode
    why: str
    policy: SharingPolicy | None = None
    weighed: Weighed | None = None
    alarm: str | None = None
    told: RefusalCode | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything that must be verified before a field is looked at has been."""

    active: ActivePolicy
    verified: VerifiedRequest
    holding: Holding | None
    tally: ApprovalTally
    emergency: bool
    alarm: str | None
