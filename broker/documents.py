"""Signed documents: accepted only when every signature that their rules require is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from broker.audit import AuditLog, Clock
from broker.catalogue import newest_version, opened_policy, replayed, signed_document, verified_linkage
from broker.linkages import Linkage
from broker.store.model import StoredDocument, StoredStatus
from broker.store.ports import BrokerStore, Transaction
from broker.trust import TrustService
from crypto.audit import AuditAction
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.agreement import LinkageAgreement
from policies.audit_names import EVENT_ENTRIES
from policies.codec import open_document
from policies.errors import DocumentError
from policies.lifecycle import apply_event, verify_event
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.status import StatusBook, StatusSnapshot
from policies.succession import succeeds
from policies.verified import verify_agreement, verify_policy
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS

#: Called within the transaction that accepts an agreement.
OpenEpoch = Callable[[Transaction, Linkage], Awaitable[object]]
#: Called after the documents that count may have changed.
Changed = Callable[[], Awaitable[None]]


class DocumentService:
    """Publishes and lists linkage agreements and sharing policies."""

    def __init__(
        self,
        store: BrokerStore,
        trust: TrustService,
        audit: AuditLog,
        open_epoch: OpenEpoch,
        changed: Changed,
        clock: Clock,
    ) -> None:
        self._store = store
        self._trust = trust
        self._audit = audit
        self._open_epoch = open_epoch
        self._changed = changed
        self._clock = clock

    async def publish(self, caller: str, bundle: DocumentBundle) -> str:
        """Stores a fully signed document; returns its hash. A document that is held already changes nothing.

        Here a document comes into life, so it must have been signed lately, by officers who are all in post.

        Raises:
            RefusedError: NOT_A_PARTY, QUORUM_NOT_MET, LIFECYCLE_REFUSED for a version that does not follow;
                what `protos.wire.refusals` makes of malformed or forged documents.
        """
        if bundle.events:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT, "events are published on their own, after the document"
            )
        registry = self._trust.registry()
        envelope = Envelope.from_bytes(bundle.document)
        document = _stored(bundle, envelope)
        _require_party(document, caller)
        linkage = None
        if bundle.kind is DocumentKind.LINKAGE_AGREEMENT:
            linkage = verified_linkage(document, registry, self._clock)
            action = AuditAction.AGREEMENT_ACCEPTED
        else:
            verify_policy(signed_document(document), registry, self._clock()).quorum.require()
            action = AuditAction.POLICY_ACCEPTED
        async with self._store.write() as tx:
            if await tx.documents.get(document.hash) is not None:
                return document.hash
            _require_newly_signed(document, registry, self._clock())
            await self._require_follows(tx, document, _supersedes(envelope, bundle.kind), caller)
            await tx.documents.add(document)
            body = {"kind": document.kind.value, "id": document.subject, "version": document.version}
            await self._audit.append(tx, action, body, actor=caller, policy=document.hash)
            if linkage is not None and linkage.agreement.in_force(self._clock()):
                await self._open_epoch(tx, linkage)
        await self._changed()
        return document.hash

    async def publish_event(self, caller: str, document_hash: str, event: bytes) -> None:
        """Adds a lifecycle event of a sharing policy; the same event sent again changes nothing."""
        if len(event) > LIMITS.document_bytes:
            raise RefusedError(ErrorCode.TOO_LARGE, f"an event has at most {LIMITS.document_bytes} bytes")
        registry = self._trust.registry()
        envelope = Envelope.from_bytes(event)
        async with self._store.write() as tx:
            document = await self._required(tx, document_hash, caller)
            if document.kind is not DocumentKind.SHARING_POLICY:
                raise RefusedError(
                    ErrorCode.LIFECYCLE_REFUSED,
                    "a linkage agreement has no events; publish its next version, or let it end",
                )
            if event in document.events:
                return
            if len(document.events) >= LIMITS.statements_per_document:
                raise RefusedError(
                    ErrorCode.TOO_LARGE, f"a document has at most {LIMITS.statements_per_document} events"
                )
            policy = opened_policy(document)
            state = replayed(document, policy, registry, self._clock)
            verified = verify_event(envelope, policy, registry, self._clock())
            apply_event(state, verified, policy, registry, self._clock())
            await tx.documents.add_event(document_hash, event)
            action = EVENT_ENTRIES.get(verified.event.action)
            if action is not None:
                body = {"id": document.subject, "officer": verified.signatory.person}
                await self._audit.append(tx, action, body, actor=caller, policy=document_hash)
        await self._changed()

    async def listed(self, caller: str, kind: DocumentKind | None) -> tuple[DocumentBundle, ...]:
        """The documents to which the caller is a party."""
        async with self._store.read() as tx:
            documents = await tx.documents.listed(kind=kind, party=caller)
        return tuple(
            DocumentBundle(item.kind, item.document, item.statements, item.events) for item in documents
        )

    async def publish_status(self, caller: str, status: bytes) -> None:
        """Stores a provider's snapshot beside every held policy that it lists and is a party to.

        Raises:
            RefusedError: ACTING_FOR_ANOTHER, SIGNATURE_INVALID, STATUS_ROLLBACK.
        """
        if len(status) > LIMITS.document_bytes:
            raise RefusedError(ErrorCode.TOO_LARGE, f"a status has at most {LIMITS.document_bytes} bytes")
        registry = self._trust.registry()
        envelope = Envelope.from_bytes(status)
        snapshot = open_document(StatusSnapshot, envelope)
        if snapshot.provider != caller:
            raise RefusedError(
                ErrorCode.ACTING_FOR_ANOTHER, f"{caller} may not publish a status of {snapshot.provider}"
            )
        _verify_status(envelope, snapshot, registry)
        StatusBook().accept(envelope, snapshot.provider, registry, self._clock())
        async with self._store.write() as tx:
            for item in snapshot.policies:
                document = await tx.documents.get(item.document_hash)
                if document is None or caller not in document.parties:
                    continue
                held = {known.provider: known for known in await tx.documents.statuses(document.hash)}
                known = held.get(caller)
                if known is not None and snapshot.version < known.version:
                    raise RefusedError(
                        ErrorCode.STATUS_ROLLBACK,
                        f"status version {known.version} is held already; {snapshot.version} is older",
                    )
                if known is not None and snapshot.version == known.version and known.envelope != status:
                    raise RefusedError(
                        ErrorCode.STATUS_ROLLBACK, f"another status has version {snapshot.version} already"
                    )
                await tx.documents.put_status(StoredStatus(document.hash, caller, snapshot.version, status))
        await self._changed()

    async def statuses(self, caller: str, policy_hash: str) -> tuple[bytes, ...]:
        """The newest snapshots of one policy."""
        async with self._store.read() as tx:
            await self._required(tx, policy_hash, caller)
            return tuple(item.envelope for item in await tx.documents.statuses(policy_hash))

    async def _required(self, tx: Transaction, document_hash: str, caller: str) -> StoredDocument:
        document = await tx.documents.get(document_hash)
        if document is None:
            raise RefusedError(ErrorCode.DOCUMENT_UNKNOWN, "the broker holds no document with this hash")
        _require_party(document, caller)
        return document

    async def _require_follows(
        self, tx: Transaction, document: StoredDocument, supersedes: str | None, caller: str
    ) -> None:
        newest = await newest_version(tx, document.kind, document.subject)
        if newest is None:
            return
        if document.version <= newest.version:
            raise RefusedError(
                ErrorCode.LIFECYCLE_REFUSED,
                f"version {newest.version} of {document.subject} is held; a new one needs a higher version",
            )
        if supersedes != newest.hash or caller not in newest.parties:
            raise RefusedError(
                ErrorCode.LIFECYCLE_REFUSED,
                f"a new version of {document.subject} supersedes version {newest.version} by its hash and is "
                "published by a party to both",
            )
        if document.kind is not DocumentKind.SHARING_POLICY:
            return
        for earlier in await tx.documents.listed(kind=document.kind, subject=document.subject):
            if not succeeds(opened_policy(document), opened_policy(earlier)):
                raise RefusedError(
                    ErrorCode.LIFECYCLE_REFUSED,
                    f"a new version of {document.subject} has every provider of version {earlier.version} as "
                    "a party: to share without one of them, revoke it and sign a policy with another id",
                )


def _stored(bundle: DocumentBundle, envelope: Envelope) -> StoredDocument:
    if bundle.kind is DocumentKind.LINKAGE_AGREEMENT:
        agreement = open_document(LinkageAgreement, envelope)
        subject, version, parties = str(agreement.id), agreement.version, agreement.agencies
    else:
        policy = open_document(SharingPolicy, envelope)
        subject, version = str(policy.id), policy.version
        parties = tuple(party.agency for party in policy.parties)
    return StoredDocument(
        hash=envelope.digest,
        kind=bundle.kind,
        subject=subject,
        version=version,
        parties=tuple(str(agency) for agency in parties),
        document=bundle.document,
        statements=bundle.statements,
    )


def _supersedes(envelope: Envelope, kind: DocumentKind) -> str | None:
    if kind is DocumentKind.LINKAGE_AGREEMENT:
        return open_document(LinkageAgreement, envelope).supersedes
    return open_document(SharingPolicy, envelope).supersedes


def _require_party(document: StoredDocument, caller: str) -> None:
    if caller not in document.parties:
        raise RefusedError(ErrorCode.NOT_A_PARTY, f"{caller} is not a party to this document")


def _require_newly_signed(document: StoredDocument, registry: Registry, now: datetime) -> None:
    bundle = signed_document(document)
    if document.kind is DocumentKind.LINKAGE_AGREEMENT:
        quorum = verify_agreement(bundle, registry, now, published_now=True).quorum
    else:
        quorum = verify_policy(bundle, registry, now, published_now=True).quorum
    quorum.require()


def _verify_status(envelope: Envelope, snapshot: StatusSnapshot, registry: Registry) -> None:
    """A wrong signature gets its own code; everything else about a status is the status book's to refuse."""
    agency = registry.agency(snapshot.provider)
    if agency is None:
        raise DocumentError(f"the status is by {snapshot.provider}, which the registry does not list")
    try:
        for signature in envelope.signatures:
            agency.node_verify_key.verify(signature.value, envelope.pae)
        if not envelope.signatures:
            raise RefusedError(ErrorCode.SIGNATURE_INVALID, "the status is not signed")
    except CryptoError:
        raise RefusedError(
            ErrorCode.SIGNATURE_INVALID, f"the status is not signed by the node of {snapshot.provider}"
        ) from None
