"""The sharing policy: who may learn what about a linked subject, from whom, why, and under which law."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from policies.clauses import Clause, Emergency, Obligations, Safeguards
from policies.ids import AgencyId, FederationId, Hash256, HttpsUrl, Line, LinkageId, Marker, PolicyId, Prose
from policies.parties import Governance, Party
from policies.vocabulary import Effect, Purpose

MAX_LIFETIME = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class SharingPolicy:
    """`sharing-policy/v1`. `supersedes` is the document hash of the version that this one replaces."""

    KIND: ClassVar[str] = "sharing-policy/v1"
    READ_OFTEN: ClassVar[bool] = True

    federation: FederationId
    id: PolicyId
    version: int
    title: Line
    summary: Prose
    status_url: HttpsUrl
    not_before: datetime
    not_after: datetime
    review_by: datetime
    linkages: tuple[LinkageId, ...]
    parties: tuple[Party, ...]
    governance: Governance
    purposes: tuple[Purpose, ...]
    clauses: tuple[Clause, ...]
    obligations: Obligations
    safeguards: Safeguards
    supersedes: Hash256 | None = None
    emergency: Emergency | None = None

    def __post_init__(self) -> None:
        self._check_header()
        self._check_parties()
        self._check_clauses()

    def _check_header(self) -> None:
        if self.version < 1:
            raise ValueError("a policy's version starts at 1")
        if (self.version == 1) != (self.supersedes is None):
            raise ValueError(
                "version 1 supersedes nothing; every later version names the hash of its predecessor"
            )
        if not self.not_before < self.not_after <= self.not_before + MAX_LIFETIME:
            raise ValueError("not_after must follow not_before by at most a year")
        if not self.not_before <= self.review_by <= self.not_after:
            raise ValueError("review_by must lie between not_before and not_after")
        if not self.linkages or len(set(self.linkages)) != len(self.linkages):
            raise ValueError("a policy is about at least one linkage, each listed once")

    def _check_parties(self) -> None:
        ids = [party.agency for party in self.parties]
        if len(set(ids)) != len(ids):
            raise ValueError("a party is listed twice")
        if not self.providers or not self.recipients or len(ids) < 2:
            raise ValueError("a policy has at least two parties, among them a provider and a recipient")
        if not {advice.agency for advice in self.governance.dpo_advice} <= set(ids):
            raise ValueError("DPO advice comes from an agency that is not a party")

    def _check_clauses(self) -> None:
        numbers = [clause.number for clause in self.clauses]
        if not numbers or numbers != sorted(set(numbers)):
            raise ValueError("there is at least one clause, and clause numbers rise without repetition")
        if not self.purposes or len(set(self.purposes)) != len(self.purposes):
            raise ValueError("a policy has at least one purpose, each listed once")
        for clause in self.clauses:
            if not set(clause.purposes) <= set(self.purposes):
                raise ValueError(f"clause {clause.number} has a purpose that the policy does not have")
            if not set(clause.providers) <= set(self.providers):
                raise ValueError(f"clause {clause.number} names a provider that is not a providing party")
            if not set(clause.recipients) <= set(self.recipients):
                raise ValueError(f"clause {clause.number} names a recipient that is not a receiving party")

    @property
    def providers(self) -> tuple[AgencyId, ...]:
        """The agencies that may release."""
        return tuple(party.agency for party in self.parties if party.provides)

    @property
    def recipients(self) -> tuple[AgencyId, ...]:
        """The agencies that may be released to."""
        return tuple(party.agency for party in self.parties if party.receives)

    def party(self, agency: str) -> Party | None:
        """The party with this agency id."""
        return next((item for item in self.parties if item.agency == agency), None)

    def clause(self, number: int) -> Clause | None:
        """The clause with this number."""
        return next((item for item in self.clauses if item.number == number), None)

    @property
    def releases(self) -> tuple[Clause, ...]:
        """The release clauses."""
        return tuple(item for item in self.clauses if item.effect is Effect.RELEASE)

    @property
    def withholds(self) -> tuple[Clause, ...]:
        """The withhold clauses."""
        return tuple(item for item in self.clauses if item.effect is Effect.WITHHOLD)

    @property
    def named_markers(self) -> frozenset[Marker]:
        """The markers that some clause names."""
        return frozenset(marker for item in self.clauses for marker in item.conditions.markers or ())

    def in_force(self, now: datetime) -> bool:
        """Whether `now` is within the policy's time; says nothing of signatures and status."""
        return self.not_before <= now < self.not_after
