"""The signed documents that count at this moment: agreements in force and policies that are active.

Verified anew whenever a document or the registry changes, so that a removed officer's signature stops
counting at once. Time is looked at in every question.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from broker.audit import Clock
from broker.linkages import Linkage
from broker.store.model import StoredDocument, StoredStatus
from broker.store.ports import BrokerStore, Transaction
from broker.trust import TrustService
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import PolicyError
from policies.evaluate import PolicyEvaluator
from policies.lifecycle import PolicyState, Stage
from policies.registry import Registry
from policies.replay import state_after
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from policies.status import StatusSnapshot, ceiling_at_provider
from policies.succession import is_superseded
from policies.verified import verify_agreement, verify_policy
from protos.wire.documents import DocumentKind
from protos.wire.errors import ErrorCode, RefusedError

_log = structlog.get_logger("catalogue")


@dataclass(frozen=True, slots=True)
class HeldPolicy:
    """A sharing policy whose quorum is met, its state after all events, and what its providers say of it."""

    policy: SharingPolicy
    hash: str
    state: PolicyState
    evaluator: PolicyEvaluator
    snapshots: tuple[StatusSnapshot, ...]


class Catalogue:
    """Answers which linkages and policies count. `reload` after every change of documents or registry."""

    def __init__(self, store: BrokerStore, trust: TrustService, clock: Clock) -> None:
        self._store = store
        self._trust = trust
        self._clock = clock
        self._agreements: dict[str, tuple[Linkage, ...]] = {}
        self._policies: tuple[HeldPolicy, ...] = ()
        #: Every accepted version of every policy, also those whose signatures no longer count.
        self._versions: tuple[SharingPolicy, ...] = ()
        self._evaluators: dict[str, PolicyEvaluator] = {}

    async def reload(self) -> bool:
        """Verifies everything that is held; False, and nothing changed, without a registry in force."""
        try:
            registry = self._trust.registry()
        except RefusedError:
            return False
        async with self._store.read() as tx:
            documents = await tx.documents.listed()
            statuses = {
                item.hash: await tx.documents.statuses(item.hash)
                for item in documents
                if item.kind is DocumentKind.SHARING_POLICY
            }
        agreements: dict[str, tuple[Linkage, ...]] = {}
        policies: list[HeldPolicy] = []
        versions: list[SharingPolicy] = []
        for item in documents:
            try:
                if item.kind is DocumentKind.LINKAGE_AGREEMENT:
                    linkage = verified_linkage(item, registry, self._clock)
                    agreements[linkage.id] = (*agreements.get(linkage.id, ()), linkage)
                else:
                    versions.append(opened_policy(item))
                    policies.append(self._held(item, statuses[item.hash], registry))
            except (PolicyError, CryptoError) as error:
                _log.warning("document no longer counts", document=item.hash, reason=type(error).__name__)
        self._agreements = agreements
        self._policies = tuple(policies)
        self._versions = tuple(versions)
        return True

    def linkages(self) -> tuple[Linkage, ...]:
        """The agreements in force, one for each linkage."""
        found = (self._in_force(versions) for versions in self._agreements.values())
        return tuple(item for item in found if item is not None)

    def linkage(self, linkage_id: str) -> Linkage:
        """The agreement in force of a linkage.

        Raises:
            RefusedError: LINKAGE_UNKNOWN.
        """
        found = self._in_force(self._agreements.get(linkage_id, ()))
        if found is None:
            raise RefusedError(
                ErrorCode.LINKAGE_UNKNOWN,
                "no agreement of this linkage is in force; publish it with all its signatures",
            )
        return found

    def linkage_for(self, linkage_id: str, agency: str) -> Linkage:
        """As `linkage`, for a participant only."""
        linkage = self.linkage(linkage_id)
        linkage.require_participant(agency)
        return linkage

    def active_policies(self, linkage_id: str) -> tuple[HeldPolicy, ...]:
        """The policies about a linkage that are active now and not superseded."""
        now = self._clock()
        return tuple(
            item
            for item in self._policies
            if linkage_id in item.policy.linkages
            and self._is_active(item)
            and item.policy.in_force(now)
            and not is_superseded(item.policy, self._versions, now)
        )

    def policy(self, policy_hash: str) -> HeldPolicy | None:
        """A policy by its document hash, whatever its stage."""
        return next((item for item in self._policies if item.hash == policy_hash), None)

    def _is_active(self, held: HeldPolicy) -> bool:
        now = self._clock()
        if ceiling_at_provider(held.policy, held.state, now).tier is None:
            return False
        # The officers' own events decide; a provider's snapshot can only say less, never more.
        said = [snapshot.of(held.hash) for snapshot in held.snapshots]
        return all(status is None or status.stage in {Stage.ACTIVE, Stage.SIGNED} for status in said)

    def _in_force(self, versions: tuple[Linkage, ...]) -> Linkage | None:
        now = self._clock()
        valid = [item for item in versions if item.agreement.in_force(now)]
        return max(valid, key=lambda item: item.agreement.version, default=None)

    def _held(
        self, document: StoredDocument, statuses: tuple[StoredStatus, ...], registry: Registry
    ) -> HeldPolicy:
        verified = verify_policy(signed_document(document), registry, self._clock())
        verified.quorum.require()
        state = replayed(document, verified.policy, registry, self._clock)
        if document.hash not in self._evaluators:
            self._evaluators[document.hash] = PolicyEvaluator(verified.policy)
        snapshots = tuple(
            open_document(StatusSnapshot, Envelope.from_bytes(item.envelope)) for item in statuses
        )
        return HeldPolicy(verified.policy, document.hash, state, self._evaluators[document.hash], snapshots)


def signed_document(document: StoredDocument) -> SignedDocument:
    """The document with its statements as `policies` takes it."""
    return SignedDocument(
        Envelope.from_bytes(document.document),
        tuple(Envelope.from_bytes(item) for item in document.statements),
    )


def opened_policy(document: StoredDocument) -> SharingPolicy:
    """The policy in a document that was verified when it was accepted."""
    return open_document(SharingPolicy, Envelope.from_bytes(document.document))


def verified_linkage(document: StoredDocument, registry: Registry, clock: Clock) -> Linkage:
    """The linkage of an agreement whose quorum is met; raises what `policies` and `crypto` raise."""
    verified = verify_agreement(signed_document(document), registry, clock())
    verified.quorum.require()
    return Linkage(verified.agreement, document.hash)


def replayed(
    document: StoredDocument, policy: SharingPolicy, registry: Registry, clock: Clock
) -> PolicyState:
    """The policy's state after the accepted events; it begins as `signed`: the broker never sees drafts."""
    return state_after(document.hash, policy, document.events, registry, clock())


async def newest_version(tx: Transaction, kind: DocumentKind, subject: str) -> StoredDocument | None:
    """The newest held version of a linkage's agreement or of a policy."""
    versions = await tx.documents.listed(kind=kind, subject=subject)
    return versions[-1] if versions else None
