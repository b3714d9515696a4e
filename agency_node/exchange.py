"""Keeping documents, status and trust in step with the broker. Everything taken is verified here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from agency_node.documents import PolicyBook
from agency_node.ports import Clock, NodeIdentity
from agency_node.refusals import translate
from agency_node.store.store import NodeStore
from agency_node.trust import TrustKeeper
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.codec import open_document
from policies.errors import PolicyError
from policies.registry import Registry
from policies.status import SNAPSHOT_LIFETIME, StatusSnapshot
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import RefusedError, UnavailableError

_log = structlog.get_logger("exchange")
#: A snapshot is renewed when half of its life is over.
_RENEW_STATUS_AFTER: timedelta = SNAPSHOT_LIFETIME / 2


class TrustSource(Protocol):
    """Hands on trust documents."""

    async def trust(self, known_root_version: int) -> tuple[tuple[bytes, ...], bytes]: ...


class DocumentExchange(Protocol):
    """The broker's documents."""

    async def publish(self, bundle: DocumentBundle) -> str: ...

    async def publish_event(self, document_hash: str, event: bytes) -> None: ...

    def listed(self, kind: DocumentKind | None = None) -> AsyncGenerator[DocumentBundle, None]: ...

    async def publish_status(self, status: bytes) -> None: ...

    async def statuses(self, policy_hash: str) -> tuple[bytes, ...]: ...


class Exchange:
    """Takes what is new from the broker, and gives it what it lacks."""

    def __init__(
        self, store: NodeStore, identity: NodeIdentity, trust: TrustKeeper, book: PolicyBook, clock: Clock
    ) -> None:
        self._store = store
        self._identity = identity
        self._trust = trust
        self._book = book
        self._clock = clock
        self._status_due: datetime | None = None
        self._news = False

    async def refresh_trust(self, source: TrustSource) -> bool:
        """Fetches newer trust documents; returns whether there were any.

        Roots come a limited number at a time, and count by themselves; the registry is judged by the last.

        Raises:
            RefusedError: the broker cannot be reached, or what it hands over is not to be trusted.
        """
        news = False
        roots, registry = await source.trust(self._trust.root_version)
        while await self._offer(roots, b""):
            news = True
            roots, registry = await source.trust(self._trust.root_version)
        return await self._offer((), registry) or news

    async def _offer(self, roots: Sequence[bytes], registry: bytes) -> bool:
        try:
            return await self._trust.offer(roots, registry)
        except (PolicyError, CryptoError) as error:
            _log.error("trust documents refused", reason=type(error).__name__)
            raise translate(error) or error from None

    async def refresh_documents(self, broker: DocumentExchange) -> bool:
        """Takes and gives documents and events, then statuses; returns whether any was new here.

        What was new before an error is told by the next call.
        """
        registry = self._trust.registry(self._clock())
        there = await self._take_documents(broker, registry)
        self._news |= await self._accept(there, registry)
        await self._give(broker, there)
        await self.publish_status(broker, registry)
        self._news |= await self._take_statuses(broker, registry)
        news, self._news = self._news, False
        return news

    async def publish_status(
        self, broker: DocumentExchange, registry: Registry, *, now_due: bool = False
    ) -> None:
        """Signs and publishes this agency's status when the last one is half-way through its life."""
        now = self._clock()
        if not now_due and self._status_due is not None and now < self._status_due:
            return
        async with self._store.transaction() as tx:
            status = await self._book.own_status(tx, registry, now)
        if status is not None:
            await broker.publish_status(status)
            self._status_due = now + _RENEW_STATUS_AFTER

    async def _take_documents(
        self, broker: DocumentExchange, registry: Registry
    ) -> dict[str, DocumentBundle]:
        there: dict[str, DocumentBundle] = {}
        async with aclosing(broker.listed()) as bundles:
            async for bundle in bundles:
                try:
                    there[Envelope.from_bytes(bundle.document).digest] = bundle
                except CryptoError as error:
                    _log.warning("document unreadable", reason=type(error).__name__)
        return there

    async def _accept(self, there: dict[str, DocumentBundle], registry: Registry) -> bool:
        news = False
        for document_hash, bundle in there.items():
            try:
                async with self._store.transaction() as tx:
                    before = await tx.documents.get(document_hash)
                    await self._book.accept(tx, bundle, registry, self._clock())
                    news |= before != await tx.documents.get(document_hash)
            except (PolicyError, CryptoError, RefusedError) as error:
                _log.warning("document refused", document=document_hash, reason=type(error).__name__)
        if news:
            self._status_due = None
        return news

    async def _give(self, broker: DocumentExchange, there: dict[str, DocumentBundle]) -> None:
        """What the broker lacks: documents that it lost, and events that it was not there to take."""
        async with self._store.transaction() as tx:
            held = {digest: await tx.documents.get(digest) for digest in await tx.documents.hashes()}
        for digest, bundle in held.items():
            if bundle is None:
                continue
            known = there.get(digest)
            try:
                if known is None:
                    await broker.publish(DocumentBundle(bundle.kind, bundle.document, bundle.statements))
                for event in bundle.events:
                    if known is None or event not in known.events:
                        await broker.publish_event(digest, event)
            except UnavailableError:
                raise
            except RefusedError as refusal:
                _log.info("broker does not take document", document=digest, code=str(refusal.code))

    async def _take_statuses(self, broker: DocumentExchange, registry: Registry) -> bool:
        news = False
        now = self._clock()
        async with self._store.transaction() as tx:
            policies = await self._book.policies(tx, registry, now)
        wanted = [
            digest
            for digest, policy, _ in policies
            if policy.in_force(now) and set(policy.providers) != {self._identity.agency}
        ]
        for digest in wanted:
            try:
                statuses = await broker.statuses(digest)
            except UnavailableError:
                raise
            except RefusedError as refusal:
                _log.info("no status", document=digest, code=str(refusal.code))
                continue
            for status in statuses:
                news |= await self._accept_status(status, registry, now)
        return news

    async def _accept_status(self, status: bytes, registry: Registry, now: datetime) -> bool:
        try:
            provider = open_document(StatusSnapshot, Envelope.from_bytes(status)).provider
            if provider != self._identity.agency:
                async with self._store.transaction() as tx:
                    return await self._book.accept_status(tx, provider, status, registry, now)
        except (PolicyError, CryptoError) as error:
            _log.warning("status refused", reason=type(error).__name__)
        return False
