"""The clock: what was received is purged in time or when it is recalled, and a signed receipt says so."""

from __future__ import annotations

from datetime import datetime

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.holder import Holder
from agency_node.disclosure.model import (
    Direction,
    ReleaseSide,
    ReleaseState,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.mailbox import OpenedMessage
from agency_node.model import KnownLink
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.tokens import LinkToken
from policies.codec import open_document
from policies.disclosure import (
    DisclosureRequest,
    ErasureReason,
    ErasureReceipt,
    LinkRecall,
    RecallReason,
)
from policies.ids import Hash256, LinkageId
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import LinkEventKind
from protos.wire.relay import ToAgency

_log = structlog.get_logger("retention")


class Retention:
    """Destroys what may be kept no longer."""

    def __init__(self, context: DisclosureContext, holder: Holder) -> None:
        self._context = context
        self._holder = holder

    async def tick(self) -> None:
        """What time alone makes due: purging, and requests that nobody answered."""
        ctx = self._context
        now = ctx.now()
        async with ctx.store.transaction() as tx:
            due = await tx.retention.due(now)
            waiting = await tx.requests.in_state(Direction.RECEIVED, RequestState.WAITING)
            sent = await tx.requests.in_state(Direction.MADE, RequestState.SENT)
        for release in due:
            async with ctx.store.transaction() as tx:
                await self._purge(tx, release, ErasureReason.RETENTION_ENDED, now)
        for stored in waiting:
            if now >= stored.expires:
                async with ctx.store.transaction() as tx:
                    current = await tx.requests.get(stored.direction, stored.request_id)
                    await self._holder.decide_again(tx, current or stored)
        for stored in sent:
            if now >= stored.expires:
                async with ctx.store.transaction() as tx:
                    await tx.requests.settle(Direction.MADE, stored.request_id, RequestState.EXPIRED)
        if due or waiting:
            ctx.mailbox.nudge()

    # -- the recipient's side

    async def take_recall(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """The provider takes back releases, or all under a link: they are purged at once.

        Raises:
            RefusedError: REQUEST_INVALID where the recall is not of its sender.
        """
        recall = open_document(LinkRecall, message.envelope)
        if recall.issuer != message.sender:
            raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "a recall was issued in another agency's name")
        link_mac = self._context.vault.link_mac(LinkToken.parse(recall.link_token).raw)
        now = message.received.replace(microsecond=0)
        for release in await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac):
            named = not recall.release_hashes or release.release_hash in recall.release_hashes
            if release.peer == message.sender and named:
                await self._purge(tx, release, ErasureReason.RECALLED, now)

    async def on_link_event(
        self, tx: NodeTransaction, kind: LinkEventKind, link: KnownLink, _subject: SubjectId
    ) -> None:
        """A link that is recalled was wrong, or may be known no longer: so is what came over it."""
        if kind is not LinkEventKind.RECALLED:
            return
        link_mac = self._context.vault.link_mac(link.token)
        for release in await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac):
            await self._purge(tx, release, ErasureReason.RECALLED, self._context.now())

    async def _purge(
        self, tx: NodeTransaction, release: StoredRelease, reason: ErasureReason, now: datetime
    ) -> None:
        ctx = self._context
        current = await tx.releases.get(ReleaseSide.RECEIVED, release.release_hash)
        if current is None or current.state is ReleaseState.ERASED:
            return
        await tx.retention.purge(release.release_hash)
        stored = None
        if release.request_id is not None:
            recalled = reason is ErasureReason.RECALLED
            state = RequestState.RECALLED if recalled else RequestState.PURGED
            await tx.requests.settle(Direction.MADE, release.request_id, state)
            stored = await tx.requests.get(Direction.MADE, release.request_id)
        await ctx.log.append(
            tx,
            AuditAction.PURGED,
            actor=str(ctx.me),
            subject=self._subject(stored),
            policy=release.policy_hash,
            ref=reference(release.release_hash),
            body={"release": release.release_hash, "reason": reason.value},
        )
        receipt = ErasureReceipt(ctx.new_id(), Hash256(release.release_hash), ctx.me, reason, now)
        peer = release.peer
        try:
            await ctx.mailbox.post(tx, ToAgency(peer), peer, "erasure-receipt", ctx.signed(receipt))
        except RefusedError as refusal:
            # Time is up even where nobody can be told: the peer has left, or the registry has expired.
            _log.warning("purged without a receipt", peer=str(peer), code=str(refusal.code))

    def _subject(self, stored: StoredRequest | None) -> SubjectId | None:
        if stored is None or stored.wrapped is None:
            return None
        contents = self._context.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        return contents.subject

    # -- the provider's side

    async def recall(self, request_id: str, reason: RecallReason) -> None:
        """Takes back what was released in answer to a request: its link or a record was wrong.

        Raises:
            RefusedError: REQUEST_UNKNOWN where nothing was released.
        """
        ctx = self._context
        now = ctx.now()
        async with ctx.store.transaction() as tx:
            stored = await tx.requests.get(Direction.RECEIVED, request_id)
            release = await tx.releases.of_request(ReleaseSide.GIVEN, request_id)
            if stored is None or stored.wrapped is None or release is None:
                raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "nothing was released for this request")
            contents = ctx.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
            request = open_document(DisclosureRequest, contents.envelope)
            recall = LinkRecall(
                id=ctx.new_id(),
                linkage=LinkageId(request.linkage),
                link_token=request.link_token,
                issuer=ctx.me,
                reason=reason,
                release_hashes=(Hash256(release.release_hash),),
                issued_at=now,
            )
            await ctx.log.append(
                tx,
                AuditAction.WITHDRAWN,
                actor=str(ctx.me),
                subject=contents.subject,
                policy=release.policy_hash,
                ref=reference(release.release_hash),
                body={"request": request_id, "reason": reason.value},
            )
            await ctx.mailbox.post(tx, ToAgency(stored.peer), stored.peer, "link-recall", ctx.signed(recall))
            await tx.requests.settle(Direction.RECEIVED, request_id, RequestState.RECALLED)
        ctx.mailbox.nudge()

    async def take_erasure(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Notes that the recipient has erased a release. Raises RefusedError: REQUEST_UNKNOWN."""
        receipt = open_document(ErasureReceipt, message.envelope)
        release = await tx.releases.get(ReleaseSide.GIVEN, receipt.release_hash)
        if release is None or release.peer != message.sender or receipt.recipient != message.sender:
            raise RefusedError(
                ErrorCode.REQUEST_UNKNOWN, "an erasure receipt came for a release that was not given"
            )
        if release.state is ReleaseState.ERASED:
            return
        await tx.releases.set_state(ReleaseSide.GIVEN, release.release_hash, ReleaseState.ERASED)
        await self._context.log.append(
            tx,
            AuditAction.ERASED,
            actor=str(message.sender),
            policy=release.policy_hash,
            ref=reference(release.release_hash),
            body={"release": release.release_hash, "reason": receipt.reason.value},
        )
