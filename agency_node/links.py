"""The links that this agency was told of: taken in once, in order, from wherever it left off.

The broker names a link by this agency's own opaque handle; only here does it become a subject again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from agency_node.model import KnownLink
from agency_node.ports import AuditSink, NodeIdentity
from agency_node.store.store import NodeStore, NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from policies.ids import AgencyId, LinkageId
from protos.wire.linkage import Link, LinkEvent, LinkEventKind

_log = structlog.get_logger("links")

#: Called for each link event about a subject of this agency, in the transaction that takes it in.
LinkHandler = Callable[[NodeTransaction, LinkEventKind, KnownLink, SubjectId], Awaitable[None]]


class LinkSource(Protocol):
    """Where link events come from."""

    def watch_links(
        self, linkage_id: str, after_cursor: int, *, follow: bool
    ) -> AsyncGenerator[LinkEvent, None]: ...


@dataclass(frozen=True, slots=True)
class SubjectLink:
    """A link with the subject that it is about."""

    link: KnownLink
    subject_id: SubjectId = field(repr=False)


class LinkBook:
    """Links by token, by subject and by handle."""

    def __init__(self, store: NodeStore, identity: NodeIdentity, audit: AuditSink) -> None:
        self._store = store
        self._identity = identity
        self._audit = audit
        self._handlers: list[LinkHandler] = []

    def on_event(self, handler: LinkHandler) -> None:
        """Calls `handler` for every link told, changed or recalled, within that event's transaction."""
        self._handlers.append(handler)

    async def follow(self, source: LinkSource, linkage_id: LinkageId, *, follow: bool = True) -> int:
        """Takes in events from the last cursor on; with `follow`, until the connection ends.

        Returns how many were taken in.

        Raises:
            RefusedError: the connection failed, or the broker refused.
        """
        async with self._store.transaction() as tx:
            cursor = await tx.links.cursor(linkage_id)
        taken = 0
        async with aclosing(source.watch_links(linkage_id, cursor, follow=follow)) as events:
            async for event in events:
                await self.take(event, linkage_id)
                taken += 1
        return taken

    async def take(self, event: LinkEvent, linkage_id: LinkageId) -> None:
        """Takes in one event, with its cursor, or nothing of it."""
        async with self._store.transaction() as tx:
            if event.cursor <= await tx.links.cursor(linkage_id):
                return
            await tx.links.set_cursor(linkage_id, event.cursor)
            subject_id = await tx.handles.subject_of(linkage_id, event.link.handle)
            link = _known(event.link)
            if link.linkage_id != linkage_id:
                _log.warning("link of another linkage ignored", linkage=linkage_id)
            elif event.kind is LinkEventKind.RECALLED:
                if await tx.links.recall(link.token) and subject_id is not None:
                    await self._tell(tx, event.kind, link, subject_id)
            elif subject_id is None:
                # A decoy, or a subject that was withdrawn in the meantime: there is nobody to link.
                decoy = await tx.handles.is_decoy(linkage_id, link.handle)
                _log.info("link without subject ignored", linkage=linkage_id, decoy=decoy)
            else:
                await tx.links.put(link)
                await self._tell(tx, event.kind, link, subject_id)

    async def by_token(self, tx: NodeTransaction, token: bytes, now: datetime) -> SubjectLink | None:
        """The link of a token, with its subject; None if it is unknown, recalled or expired."""
        link = await tx.links.by_token(token)
        if link is None or now >= link.expires:
            return None
        subject_id = await tx.handles.subject_of(link.linkage_id, link.handle)
        return None if subject_id is None else SubjectLink(link, subject_id)

    async def of_subject(
        self, tx: NodeTransaction, subject_id: SubjectId, now: datetime
    ) -> tuple[KnownLink, ...]:
        """All links of one subject, over all linkages."""
        found: list[KnownLink] = []
        for linkage_id, handle in await tx.handles.of_subject(subject_id):
            found += [link for link in await tx.links.of_handle(linkage_id, handle) if now < link.expires]
        return tuple(found)

    async def subject_of_handle(
        self, tx: NodeTransaction, linkage_id: LinkageId, handle: bytes
    ) -> SubjectId | None:
        """The subject for which a handle stands; None for an unknown handle or a decoy."""
        return await tx.handles.subject_of(linkage_id, handle)

    async def listed(
        self, tx: NodeTransaction, linkage_id: LinkageId | None, subject_id: SubjectId | None, now: datetime
    ) -> tuple[SubjectLink, ...]:
        """Links for a list: of one linkage or all, of one subject or all."""
        found: list[SubjectLink] = []
        for link in await tx.links.all(linkage_id):
            subject = await tx.handles.subject_of(link.linkage_id, link.handle)
            if subject is not None and subject_id in (None, subject) and now < link.expires:
                found.append(SubjectLink(link, subject))
        return tuple(found)

    async def _tell(
        self, tx: NodeTransaction, kind: LinkEventKind, link: KnownLink, subject_id: SubjectId
    ) -> None:
        recalled = kind is LinkEventKind.RECALLED
        await self._audit.append(
            tx,
            AuditAction.LINKS_RECALLED if recalled else AuditAction.LINKS_TOLD,
            actor=str(self._identity.agency),
            subject=subject_id,
            policy=link.policy_hash or None,
            body={
                "linkage": str(link.linkage_id),
                "event": kind.value,
                "strength": link.strength.value,
                "counterpart": str(link.counterpart or ""),
            },
        )
        for handler in self._handlers:
            await handler(tx, kind, link, subject_id)


def _known(link: Link) -> KnownLink:
    return KnownLink(
        token=link.token,
        handle=link.handle,
        linkage_id=LinkageId(link.linkage_id),
        epoch=link.epoch,
        counterpart=None if link.counterpart is None else AgencyId(link.counterpart),
        strength=link.strength,
        policy_hash=link.policy_hash,
        expires=link.expires,
    )
