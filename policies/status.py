"""Policy status: signed snapshots that go stale safely, and the highest tier that status and time still
allow.

A provider's node signs a snapshot of its policies' stages every few minutes. It lives ten minutes; its
version only rises, so that an old one cannot hide a suspension. Who has no fresh one falls back to tier 0 for
a day, then to nothing.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from crypto.envelope import Envelope, require_signature
from crypto.errors import CryptoError
from policies.codec import parse, payload_type
from policies.errors import StatusError
from policies.ids import AgencyId, FederationId, Hash256, PolicyId
from policies.lifecycle import PolicyState, Stage, stage_at
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.signing import CLOCK_SKEW

SNAPSHOT_LIFETIME = timedelta(minutes=10)
STALE_GRACE = timedelta(hours=24)
REVIEW_GRACE = timedelta(days=14)
MAX_TIER = 3


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """One policy in a snapshot. `sequence` lets an officer sign events for the state that it shows."""

    policy: PolicyId
    document_hash: Hash256
    stage: Stage
    sequence: int


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """`policy-status/v1`, signed by the provider's node."""

    KIND: ClassVar[str] = "policy-status/v1"
    READ_OFTEN: ClassVar[bool] = True

    federation: FederationId
    provider: AgencyId
    version: int
    issued: datetime
    expires: datetime
    policies: tuple[PolicyStatus, ...]

    def __post_init__(self) -> None:
        if not self.issued < self.expires <= self.issued + SNAPSHOT_LIFETIME:
            raise ValueError("a status snapshot lives at most ten minutes")
        if len({item.document_hash for item in self.policies}) != len(self.policies):
            raise ValueError("a status snapshot lists a policy twice")

    def of(self, document: str) -> PolicyStatus | None:
        """The status of the policy with this document hash."""
        return next((item for item in self.policies if item.document_hash == document), None)


@dataclass(frozen=True, slots=True)
class StatusBook:
    """The last snapshot of each provider. Immutable: a refused snapshot changes nothing."""

    snapshots: Mapping[AgencyId, StatusSnapshot] = field(default_factory=lambda: types.MappingProxyType({}))

    def accept(
        self, envelope: Envelope, provider: AgencyId, registry: Registry, now: datetime
    ) -> "StatusBook":
        """The book with a newer snapshot of `provider`; raises StatusError."""
        agency = registry.agency(provider)
        if agency is None:
            raise StatusError(f"{provider} is not in the registry")
        try:
            payload = require_signature(envelope, agency.node_verify_key, payload_type(StatusSnapshot))
        except CryptoError as error:
            raise StatusError(f"the status is not {provider}'s: {error}") from error
        snapshot = parse(StatusSnapshot, payload)
        if snapshot.provider != provider or snapshot.federation != registry.federation:
            raise StatusError(f"the status is not about {provider} in this federation")
        if snapshot.issued > now + CLOCK_SKEW:
            raise StatusError(f"the status of {provider} is dated in the future: check the clocks")
        known = self.snapshots.get(provider)
        if known is not None and snapshot.version < known.version:
            raise StatusError(f"a newer status of {provider} is known: this one is replayed")
        if known is not None and snapshot.version == known.version and snapshot != known:
            raise StatusError(f"{provider} signed two statuses with one version")
        return StatusBook(types.MappingProxyType({**self.snapshots, provider: snapshot}))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The highest tier allowed now, None for nothing, and why it is not simply all of them."""

    tier: int | None
    reasons: tuple[str, ...] = ()


def ceiling_at_provider(policy: SharingPolicy, state: PolicyState, now: datetime) -> Ceiling:
    """What the provider's own knowledge of the policy's state allows."""
    stage = stage_at(state, policy, now)
    if stage is not Stage.ACTIVE or not policy.in_force(now):
        return Ceiling(None, (f"the policy is {_state_in_words(stage, policy, now)}",))
    return _review(policy, Ceiling(MAX_TIER), now)


def ceiling_elsewhere(
    policy: SharingPolicy, document: str, snapshot: StatusSnapshot | None, now: datetime
) -> Ceiling:
    """What the provider's last snapshot allows, for the broker and the recipient."""
    if snapshot is None:
        return Ceiling(None, ("the provider's status of the policy is not known",))
    status = snapshot.of(document)
    if status is None:
        return Ceiling(None, ("the provider's status does not list the policy",))
    if status.stage is not Stage.ACTIVE or not policy.in_force(now):
        return Ceiling(None, (f"the policy is {_state_in_words(status.stage, policy, now)}",))
    if now < snapshot.expires:
        return _review(policy, Ceiling(MAX_TIER), now)
    if now < snapshot.expires + STALE_GRACE:
        return _review(policy, Ceiling(0, ("the status is stale: existence of contact only",)), now)
    return Ceiling(None, ("the status has been stale for more than a day",))


def _review(policy: SharingPolicy, ceiling: Ceiling, now: datetime) -> Ceiling:
    if now < policy.review_by:
        return ceiling
    if now < policy.review_by + REVIEW_GRACE:
        return Ceiling(ceiling.tier, (*ceiling.reasons, "the policy's review is overdue"))
    overdue = "the policy's review is long overdue: existence of contact only"
    return Ceiling(0, (*ceiling.reasons, overdue))


def _state_in_words(stage: Stage, policy: SharingPolicy, now: datetime) -> str:
    if stage is not Stage.ACTIVE:
        return stage.value.replace("_", " ")
    return "not yet in force" if now < policy.not_before else "expired"
