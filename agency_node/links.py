"""The links that this agency was told of: taken in once, in order, from wherever it left off.

The broker names a link by this agency's own opaque handle; only here does it become a subject again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from agency_node.model import KnownLink
from agency_node.ports import Append, AuditSink, NodeIdentity
from agency_node.store.store import NodeStore, NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from policies.ids import AgencyId, LinkageId
from protos.wire.linkage import Link, LinkEvent, LinkEventKind

_log = structlog.get_logger("links")
#: Events taken in by one transaction at most.
_BUNCH = 500


@dataclass(frozen=True, slots=True)
class LinkNews:
    """A link event about a subject of this agency."""

    kind: LinkEventKind
    link: KnownLink
    subject_id: SubjectId = field(repr=False)


#: Called with events in their order, in the transaction that takes them in.
LinkHandler = Callable[[NodeTransaction, Sequence[LinkNews]], Awaitable[None]]


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

    def on_events(self, handler: LinkHandler) -> None:
        """Calls `handler` with links told, changed or recalled, within the transaction that takes them in."""
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
        async with (
            aclosing(source.watch_links(linkage_id, cursor, follow=follow)) as events,
            aclosing(_bunched(events)) as bunches,
        ):
            async for bunch in bunches:
                await self.take(bunch, linkage_id)
                taken += len(bunch)
        return taken

    async def take(self, events: Sequence[LinkEvent], linkage_id: LinkageId) -> None:
        """Takes in events, with the cursor of the last, or nothing of them."""
        async with self._store.transaction() as tx:
            cursor = await tx.links.cursor(linkage_id)
            fresh = [event for event in events if event.cursor > cursor]
            if not fresh:
                return
            await tx.links.set_cursor(linkage_id, fresh[-1].cursor)
            subjects = await tx.handles.by_handles(linkage_id, {event.link.handle for event in fresh})
            # What this bunch tells or changes is put after this, so that only what was held before goes.
            recalled = {event.link.token for event in fresh if _recalls(event, linkage_id)}
            gone = set(await tx.links.recall(recalled))
            told: list[LinkNews] = []
            held: dict[bytes, KnownLink] = {}
            for event in fresh:
                link = _known(event.link)
                subject_id = subjects.get(link.handle)
                if link.linkage_id != linkage_id:
                    _log.warning("link of another linkage ignored", linkage=linkage_id)
                elif event.kind is LinkEventKind.RECALLED:
                    known = held.pop(link.token, None) is not None or link.token in gone
                    gone.discard(link.token)
                    if known and subject_id is not None:
                        told.append(LinkNews(event.kind, link, subject_id))
                elif subject_id is None:
                    # A decoy, or a subject that was withdrawn in the meantime: there is nobody to link.
                    _log.info(
                        "link without subject ignored", linkage=linkage_id, decoy=link.handle in subjects
                    )
                else:
                    held[link.token] = link
                    told.append(LinkNews(event.kind, link, subject_id))
            await tx.links.put(list(held.values()))
            await self._audit.append_all(tx, [self._entry(news) for news in told])
            for handler in self._handlers:
                await handler(tx, told)

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
        if subject_id is not None:
            return tuple(
                SubjectLink(link, subject_id)
                for link in await self.of_subject(tx, subject_id, now)
                if linkage_id in (None, link.linkage_id)
            )
        links = [link for link in await tx.links.all(linkage_id) if now < link.expires]
        handles: dict[LinkageId, set[bytes]] = {}
        for link in links:
            handles.setdefault(link.linkage_id, set()).add(link.handle)
        subjects = {name: await tx.handles.by_handles(name, known) for name, known in handles.items()}
        found = ((link, subjects[link.linkage_id].get(link.handle)) for link in links)
        return tuple(SubjectLink(link, subject) for link, subject in found if subject is not None)

    def _entry(self, news: LinkNews) -> Append:
        link = news.link
        recalled = news.kind is LinkEventKind.RECALLED
        return Append(
            AuditAction.LINKS_RECALLED if recalled else AuditAction.LINKS_TOLD,
            str(self._identity.agency),
            {
                "linkage": str(link.linkage_id),
                "event": news.kind.value,
                "strength": link.strength.value,
                "counterpart": str(link.counterpart or ""),
            },
            news.subject_id,
            link.policy_hash or None,
        )


async def _bunched(events: AsyncGenerator[LinkEvent, None]) -> AsyncGenerator[list[LinkEvent], None]:
    """Events as they come, those that are there already together: a commit for each would take minutes."""
    queue: asyncio.Queue[LinkEvent | None] = asyncio.Queue(_BUNCH)

    async def fill() -> None:
        try:
            async for event in events:
                await queue.put(event)
        except Exception:
            await queue.put(None)
            raise
        await queue.put(None)

    filling = asyncio.create_task(fill())
    try:
        ended = False
        while not ended:
            bunch: list[LinkEvent] = []
            item = await queue.get()
            while item is not None:
                bunch.append(item)
                if queue.empty() or len(bunch) == _BUNCH:
                    break
                item = queue.get_nowait()
            ended = item is None
            if bunch:
                yield bunch
        await filling  # raises what ended the stream
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)


def _recalls(event: LinkEvent, linkage_id: LinkageId) -> bool:
    return event.kind is LinkEventKind.RECALLED and event.link.linkage_id == linkage_id


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
