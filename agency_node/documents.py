"""Signed agreements and sharing policies, verified in full each time they are relied upon.

Nothing about a verified document is remembered but its bytes: the registry of the moment decides whose
signature counts. Of a policy that this agency provides under, its own events decide the state. Of another
provider's, that provider's signed status snapshot does, and goes stale safely. Only documents with their full
quorum are kept, so that of every version held it is known that it once counted (`policies.succession`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import structlog

from agency_node.ports import AuditSink, NodeIdentity
from agency_node.store.store import NodeTransaction
from crypto.audit import AuditAction
from crypto.envelope import Envelope, sign_envelope
from crypto.errors import CryptoError
from policies.agreement import LinkageAgreement
from policies.audit_names import EVENT_ENTRIES
from policies.codec import open_document, payload_type, write
from policies.errors import LifecycleError, PolicyError, QuorumNotMetError
from policies.ids import AgencyId, Hash256, LinkageId
from policies.lifecycle import PolicyState, apply_event, verify_event
from policies.registry import Registry
from policies.replay import state_after
from policies.sharing import SharingPolicy
from policies.signing import SignedDocument
from policies.statements import PolicyEvent
from policies.status import (
    SNAPSHOT_LIFETIME,
    Ceiling,
    PolicyStatus,
    StatusBook,
    StatusSnapshot,
    ceiling_at_provider,
    ceiling_elsewhere,
)
from policies.succession import is_superseded, stage_among, succeeds
from policies.verified import VerifiedAgreement, VerifiedPolicy, joined, verify_agreement, verify_policy
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import ErrorCode, RefusedError

_log = structlog.get_logger("documents")
_Verified = TypeVar("_Verified", VerifiedAgreement, VerifiedPolicy)


@dataclass(frozen=True, slots=True)
class ActivePolicy:
    """A policy that allows something at this moment, up to `ceiling.tier`."""

    policy: SharingPolicy
    document_hash: Hash256
    #: After all events that this node knows.
    state: PolicyState
    ceiling: Ceiling
    #: Whether a provider's snapshot that has not gone stale says so; True for this agency's own policies.
    status_fresh: bool


@dataclass(frozen=True, slots=True)
class HeldDocument:
    """A document for lists: what it is and where in its life, whether or not it counts."""

    document_hash: Hash256
    kind: DocumentKind
    title: str
    state: str
    bundle: DocumentBundle
    #: What an officer's next event about a policy must name; 0 for an agreement.
    sequence: int = 0


class PolicyBook:
    """The documents that this agency is a party to. Every method works within the caller's transaction."""

    def __init__(self, identity: NodeIdentity, audit: AuditSink) -> None:
        self._identity = identity
        self._audit = audit

    # -- taking in

    async def accept(
        self, tx: NodeTransaction, bundle: DocumentBundle, registry: Registry, now: datetime
    ) -> Hash256:
        """Verifies a bundle, with all its events, and keeps it; returns the document hash.

        Of a document that is new here, officers of this agency who are in post must have signed. Statements
        and events that are held are never lost: a bundle without a suspension does not undo it.

        Raises:
            RefusedError: NOT_A_PARTY. PolicyError, CryptoError: malformed, forged, or without its quorum.
        """
        signed = _signed(bundle)
        held = await tx.documents.get(signed.digest)
        if held == bundle:
            return signed.digest
        if held is not None:
            await self.keep_statements(tx, bundle, registry, now)
        elif bundle.kind is DocumentKind.LINKAGE_AGREEMENT:
            agreement = self._consented(verify_agreement(signed, registry, now))
            self._require_party(agreement.agreement.agencies)
            action, body = AuditAction.AGREEMENT_ACCEPTED, {"id": str(agreement.agreement.id)}
            if bundle.events:
                raise LifecycleError("a linkage agreement has no events")
        else:
            policy = self._consented(verify_policy(signed, registry, now))
            self._require_party([party.agency for party in policy.policy.parties])
            _require_succession(policy.policy, await self._versions(tx))
            action, body = AuditAction.POLICY_ACCEPTED, {"id": str(policy.policy.id)}
        if held is None:
            await tx.documents.put(signed.digest, replace(bundle, events=()), now)
            actor = str(self._identity.agency)
            await self._audit.append(tx, action, actor=actor, body=body, policy=signed.digest)
        for event in bundle.events:
            try:
                await self.accept_event(tx, signed.digest, event, registry, now)
            except (PolicyError, CryptoError) as error:
                _log.warning("event refused", document=signed.digest, reason=type(error).__name__)
        return signed.digest

    async def keep_statements(
        self, tx: NodeTransaction, bundle: DocumentBundle, registry: Registry, now: datetime
    ) -> None:
        """Keeps what a bundle adds to the statements of a document that is held; nothing if it is not.

        A rejection among them counts from then on.

        Raises:
            PolicyError, CryptoError: malformed or forged.
        """
        arrived = _signed(bundle)
        held = await tx.documents.get(arrived.digest)
        if held is None:
            return
        signed = joined(_signed(held), arrived, registry, now)
        if held.kind is DocumentKind.LINKAGE_AGREEMENT:
            verify_agreement(signed, registry, now)
        else:
            verify_policy(signed, registry, now)
        statements = tuple(item.to_bytes() for item in signed.statements)
        await tx.documents.put(signed.digest, replace(held, statements=statements), now)

    async def accept_event(
        self, tx: NodeTransaction, document_hash: str, event: bytes, registry: Registry, now: datetime
    ) -> PolicyState:
        """Applies a lifecycle event of a policy and keeps it; the same event again changes nothing.

        Raises:
            RefusedError: DOCUMENT_UNKNOWN, LIFECYCLE_REFUSED. PolicyError, CryptoError.
        """
        bundle = await self._bundle(tx, document_hash, DocumentKind.SHARING_POLICY)
        policy = open_document(SharingPolicy, Envelope.from_bytes(bundle.document))
        state = _replayed(bundle, policy, registry, now)
        if event in bundle.events:
            return state
        envelope = Envelope.from_bytes(event)
        signed_at = open_document(PolicyEvent, envelope).signed_at
        verified = verify_event(envelope, policy, registry, now)
        state = apply_event(state, verified, policy, registry, min(signed_at, now))
        await tx.documents.put(document_hash, replace(bundle, events=(*bundle.events, event)), now)
        action = EVENT_ENTRIES.get(verified.event.action)
        if action is not None:
            await self._audit.append(
                tx,
                action,
                actor=str(verified.signatory.person),
                body={"id": str(policy.id), "organisation": str(verified.signatory.organisation)},
                policy=document_hash,
            )
        return state

    async def accept_status(
        self, tx: NodeTransaction, provider: AgencyId, status: bytes, registry: Registry, now: datetime
    ) -> bool:
        """Keeps a provider's newer status snapshot; returns whether it is one.

        Raises:
            StatusError: forged, replayed, or dated in the future.
        """
        held = await self._snapshot(tx, provider)
        book = StatusBook({provider: held} if held else {})
        envelope = Envelope.from_bytes(status)
        snapshot = book.accept(envelope, provider, registry, now).snapshots[provider]
        if held is not None and snapshot.version <= held.version:
            return False
        await tx.documents.put_status(provider, snapshot.version, status)
        return True

    # -- relying on

    async def agreement(
        self, tx: NodeTransaction, linkage_id: LinkageId, registry: Registry, now: datetime
    ) -> VerifiedAgreement:
        """The agreement in force of a linkage: its newest version that is in time and fully signed.

        Raises:
            RefusedError: LINKAGE_UNKNOWN.
        """
        found = [item for item in await self.agreements(tx, registry, now) if item.agreement.id == linkage_id]
        if not found:
            raise RefusedError(
                ErrorCode.LINKAGE_UNKNOWN, f"no agreement of linkage {linkage_id} is in force here"
            )
        return found[0]

    async def agreements(
        self, tx: NodeTransaction, registry: Registry, now: datetime
    ) -> tuple[VerifiedAgreement, ...]:
        """The agreement in force of every linkage."""
        newest: dict[LinkageId, VerifiedAgreement] = {}
        for document_hash in await tx.documents.hashes(DocumentKind.LINKAGE_AGREEMENT):
            bundle = await self._bundle(tx, document_hash, DocumentKind.LINKAGE_AGREEMENT)
            try:
                verified = _counted(verify_agreement(_signed(bundle), registry, now))
            except (PolicyError, CryptoError) as error:
                _log.warning(
                    "agreement no longer counts", document=document_hash, reason=type(error).__name__
                )
                continue
            agreement = verified.agreement
            best = newest.get(agreement.id)
            if agreement.in_force(now) and (best is None or agreement.version > best.agreement.version):
                newest[agreement.id] = verified
        return tuple(newest[linkage] for linkage in sorted(newest))

    async def active_policy(
        self,
        tx: NodeTransaction,
        policy_hash: str,
        registry: Registry,
        now: datetime,
        provider: AgencyId | None = None,
    ) -> ActivePolicy:
        """A policy that allows something now under `provider` (this agency, unless another is named).

        Raises:
            RefusedError: POLICY_NOT_ACTIVE, with the reasons.
            PolicyError, CryptoError: it no longer verifies.
        """
        try:
            bundle = await self._bundle(tx, policy_hash, DocumentKind.SHARING_POLICY)
        except RefusedError:
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, "no policy with this hash is held") from None
        policy = _counted(verify_policy(_signed(bundle), registry, now)).policy
        state = _replayed(bundle, policy, registry, now)
        who = provider or self._identity.agency
        if who not in policy.providers:
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, f"{who} provides nothing under this policy")
        fresh = True
        # This node's own knowledge of a suspension counts, whatever a snapshot says.
        ceiling = ceiling_at_provider(policy, state, now)
        if who != self._identity.agency and ceiling.tier is not None:
            snapshot = await self._snapshot(tx, who)
            fresh = snapshot is not None and now < snapshot.expires
            ceiling = ceiling_elsewhere(policy, policy_hash, snapshot, now)
        if ceiling.tier is not None and is_superseded(policy, await self._versions(tx), now):
            ceiling = Ceiling(None, ("a newer version has ended it",))
        if ceiling.tier is None:
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, "; ".join(ceiling.reasons))
        return ActivePolicy(policy, Hash256(policy_hash), state, ceiling, fresh)

    async def policies(
        self, tx: NodeTransaction, registry: Registry, now: datetime
    ) -> tuple[tuple[Hash256, SharingPolicy, PolicyState], ...]:
        """Every policy whose signatures count, with its state after all known events."""
        found: list[tuple[Hash256, SharingPolicy, PolicyState]] = []
        for document_hash in await tx.documents.hashes(DocumentKind.SHARING_POLICY):
            bundle = await self._bundle(tx, document_hash, DocumentKind.SHARING_POLICY)
            try:
                policy = _counted(verify_policy(_signed(bundle), registry, now)).policy
                state = _replayed(bundle, policy, registry, now)
                found.append((Hash256(document_hash), policy, state))
            except (PolicyError, CryptoError) as error:
                _log.warning("policy no longer counts", document=document_hash, reason=type(error).__name__)
        return tuple(found)

    async def listed(
        self, tx: NodeTransaction, registry: Registry, now: datetime
    ) -> tuple[HeldDocument, ...]:
        """Every held document for a list."""
        found: list[HeldDocument] = []
        versions = await self._versions(tx)
        for document_hash in await tx.documents.hashes():
            bundle = await tx.documents.get(document_hash)
            if bundle is None:
                continue
            title, state, sequence = _described(bundle, versions, registry, now)
            found.append(HeldDocument(Hash256(document_hash), bundle.kind, title, state, bundle, sequence))
        return tuple(found)

    # -- this agency's own status

    async def own_status(self, tx: NodeTransaction, registry: Registry, now: datetime) -> bytes | None:
        """A fresh signed snapshot of the policies that this agency provides under; None if there is none.

        Its version is kept with it, so that no two snapshots ever share one.
        """
        me = self._identity.agency
        versions = await self._versions(tx)
        listed = [
            PolicyStatus(policy.id, document_hash, stage_among(state, policy, versions, now), state.sequence)
            for document_hash, policy, state in await self.policies(tx, registry, now)
            if me in policy.providers
        ]
        if not listed:
            return None
        held = await tx.documents.status(me)
        issued = now.replace(microsecond=0)
        # Seconds since 1970 rise even when this database was restored from a backup.
        version = max(int(issued.timestamp()), held[0] + 1 if held else 1)
        snapshot = StatusSnapshot(
            federation=self._identity.federation,
            provider=me,
            version=version,
            issued=issued,
            expires=issued + SNAPSHOT_LIFETIME,
            policies=tuple(listed),
        )
        envelope = sign_envelope(payload_type(StatusSnapshot), write(snapshot), [self._identity.signer])
        await tx.documents.put_status(me, version, envelope.to_bytes())
        return envelope.to_bytes()

    # -- helpers

    async def _bundle(self, tx: NodeTransaction, document_hash: str, kind: DocumentKind) -> DocumentBundle:
        bundle = await tx.documents.get(document_hash)
        if bundle is None or bundle.kind is not kind:
            raise RefusedError(ErrorCode.DOCUMENT_UNKNOWN, f"no {kind} with this hash is held here")
        return bundle

    async def _snapshot(self, tx: NodeTransaction, provider: AgencyId) -> StatusSnapshot | None:
        held = await tx.documents.status(provider)
        return None if held is None else open_document(StatusSnapshot, Envelope.from_bytes(held[1]))

    async def _versions(self, tx: NodeTransaction) -> tuple[SharingPolicy, ...]:
        """Every version of every policy held, whether or not its signatures count today."""
        hashes = await tx.documents.hashes(DocumentKind.SHARING_POLICY)
        bundles = [await self._bundle(tx, item, DocumentKind.SHARING_POLICY) for item in hashes]
        return tuple(open_document(SharingPolicy, Envelope.from_bytes(item.document)) for item in bundles)

    def _consented(self, verified: _Verified) -> _Verified:
        """With its quorum, and signed for this agency by somebody in post: who left may have dated back."""
        verified.quorum.require()
        vacant = [item for item in verified.quorum.vacant if item.organisation == self._identity.agency]
        if vacant:
            raise QuorumNotMetError(
                "the document is new here, and who signed it for this agency has left; somebody in post "
                f"signs it too: {'; '.join(map(str, vacant))}"
            )
        return verified

    def _require_party(self, parties: Sequence[AgencyId]) -> None:
        if self._identity.agency not in parties:
            raise RefusedError(ErrorCode.NOT_A_PARTY, "this agency is not a party to the document")


def _signed(bundle: DocumentBundle) -> SignedDocument:
    return SignedDocument(
        Envelope.from_bytes(bundle.document),
        tuple(Envelope.from_bytes(item) for item in bundle.statements),
    )


def _counted(verified: _Verified) -> _Verified:
    verified.quorum.require()
    return verified


def _require_succession(policy: SharingPolicy, versions: Sequence[SharingPolicy]) -> None:
    """A newer version ends each older one; one that could not would leave the older beside it.

    Raises:
        LifecycleError: a provider of an older version is not a party to a newer.
    """
    for held in versions:
        if held.id != policy.id or held.version == policy.version:
            continue
        older, newer = sorted((held, policy), key=lambda item: item.version)
        if not succeeds(newer, older):
            raise LifecycleError(
                f"version {newer.version} of {policy.id} leaves out a provider of version {older.version}: "
                "to share without it, revoke that version and sign a policy with another id"
            )


def _replayed(
    bundle: DocumentBundle, policy: SharingPolicy, registry: Registry, now: datetime
) -> PolicyState:
    return state_after(Envelope.from_bytes(bundle.document).digest, policy, bundle.events, registry, now)


def _described(
    bundle: DocumentBundle, versions: Sequence[SharingPolicy], registry: Registry, now: datetime
) -> tuple[str, str, int]:
    """Title, state in a word, and the state's number."""
    signed = _signed(bundle)
    if bundle.kind is DocumentKind.LINKAGE_AGREEMENT:
        agreement = open_document(LinkageAgreement, signed.document)
        try:
            _counted(verify_agreement(signed, registry, now))
        except (PolicyError, CryptoError):
            return str(agreement.title), "not counted", 0
        return str(agreement.title), "in force" if agreement.in_force(now) else "not in force", 0
    policy = open_document(SharingPolicy, signed.document)
    try:
        _counted(verify_policy(signed, registry, now))
        state = _replayed(bundle, policy, registry, now)
    except (PolicyError, CryptoError):
        return str(policy.title), "not counted", 0
    return str(policy.title), stage_among(state, policy, versions, now).value, state.sequence
