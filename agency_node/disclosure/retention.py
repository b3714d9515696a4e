"""The clock: what was received is purged in time or when it is recalled, and a signed receipt says so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.held import require_held_policy
from agency_node.disclosure.holder import Holder
from agency_node.disclosure.model import (
    Direction,
    ReleaseSide,
    ReleaseState,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.disclosure.order_service import Effect
from agency_node.disclosure.orders import OfficerOrder
from agency_node.links import LinkNews
from agency_node.mailbox import REMEMBERED, OpenedMessage
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
from policies.ids import AgencyId, Hash256, LinkageId, LinkTokenText
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
            await tx.releases.forget_recalls_before(now - REMEMBERED)
        for release in due:
            async with ctx.store.transaction() as tx:
                await self.purge(tx, release, ErasureReason.RETENTION_ENDED, now)
        for stored in waiting:
            if now >= stored.expires:
                async with ctx.store.transaction() as tx:
                    current = await tx.requests.get(stored.direction, stored.request_id)
                    await self._holder.decide_again(tx, current or stored)
        for stored in sent:
            if now >= stored.expires:
                async with ctx.store.transaction() as tx:
                    await self._expire(tx, stored)
        if due or waiting:
            ctx.mailbox.nudge()

    async def _expire(self, tx: NodeTransaction, stored: StoredRequest) -> None:
        """A request that nobody answered in time."""
        await tx.requests.settle(Direction.MADE, stored.request_id, RequestState.EXPIRED)
        await self._context.log.append(
            tx,
            AuditAction.REQUEST_EXPIRED,
            actor=str(self._context.me),
            subject=self._subject(stored),
            policy=stored.policy_hash,
            ref=reference(stored.request_id),
            body={"request": str(stored.request_id), "provider": str(stored.peer)},
        )

    # -- the recipient's side

    async def take_recall(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """The provider takes back releases, or all under a link: they are purged at once.

        Raises:
            RefusedError: REQUEST_INVALID where the recall is not of its sender.
        """
        recall = open_document(LinkRecall, message.envelope)
        if recall.issuer != message.sender:
            raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "a recall was issued in another agency's name")
        now = message.received.replace(microsecond=0)
        reason = ErasureReason.RECALLED
        if recall.reason is RecallReason.SUBJECT_WITHDRAWN:
            reason = ErasureReason.SUBJECT_RIGHT
        if recall.release_hashes:
            # What has not come yet is remembered, for the relay keeps no order.
            await tx.releases.note_recalls(message.sender, recall.release_hashes, reason, now)
            found = [await tx.releases.get(ReleaseSide.RECEIVED, item) for item in recall.release_hashes]
        else:
            link_mac = self._context.vault.link_mac(LinkToken.parse(recall.link_token).raw)
            found = list(await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac))
        for release in found:
            if release is not None and release.peer == message.sender:
                await self.purge(tx, release, reason, now)

    async def on_link_events(self, tx: NodeTransaction, events: Sequence[LinkNews]) -> None:
        """A link that is recalled was wrong, or may be known no longer: so is what came over it."""
        for news in events:
            if news.kind is LinkEventKind.RECALLED:
                link_mac = self._context.vault.link_mac(news.link.token)
                for release in await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac):
                    await self.purge(tx, release, ErasureReason.RECALLED, self._context.now())

    async def purge(
        self, tx: NodeTransaction, release: StoredRelease, reason: ErasureReason, now: datetime
    ) -> None:
        """Destroys what was received, with its audit entry, and sends the erasure receipt."""
        ctx = self._context
        current = await tx.releases.get(ReleaseSide.RECEIVED, release.release_hash)
        if current is None or current.state is ReleaseState.ERASED:
            return
        subject = None
        if current.wrapped is not None:
            subject = ctx.vault.open_release(current.release_hash, current.wrapped).subject
        await tx.retention.purge(release.release_hash)
        if release.request_id is not None and reason is ErasureReason.RETENTION_ENDED:
            await tx.requests.settle(Direction.MADE, release.request_id, RequestState.PURGED)
        elif release.request_id is not None:
            # What was withheld of somebody, and by which clause, is as wrong as what was released.
            await tx.requests.settle(Direction.MADE, release.request_id, RequestState.RECALLED)
            await tx.requests.forget_outcome(Direction.MADE, release.request_id)
        await ctx.log.append(
            tx,
            AuditAction.PURGED,
            actor=str(ctx.me),
            subject=subject,
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

    async def recall(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """Takes back what was released in answer to a request: its link or a record was wrong.

        What was pushed is named by its release's hash.

        Raises:
            RefusedError: REQUEST_UNKNOWN where nothing is released, INVALID_ARGUMENT for another reason.
        """
        try:
            reason = RecallReason(order.about or RecallReason.RECORD_WRONG)
        except ValueError:
            reasons = ", ".join(item.value for item in RecallReason)
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"a recall's reason is one of {reasons}") from None
        pushed = await tx.releases.get(ReleaseSide.GIVEN, str(order.target))
        if pushed is not None and pushed.request_id is None and not pushed.state.closed:
            await self.take_back_pushed(tx, pushed, reason, now)
            return Effect(f"Taken back: {pushed.peer} is told.", policy=pushed.policy_hash)
        stored, releases = await self._given(tx, str(order.target))
        await self._take_back(tx, stored, releases, reason, now)
        return Effect(f"Taken back: {stored.peer} is told.", self._subject(stored), stored.policy_hash)

    async def undo(self, tx: NodeTransaction, stored: StoredRequest, now: datetime) -> None:
        """Takes back what a request brought about, at its provider, or destroys it where it was received."""
        if stored.direction is Direction.MADE:
            for held in await tx.releases.all_of_request(ReleaseSide.RECEIVED, stored.request_id):
                await self.purge(tx, held, ErasureReason.RECALLED, now)
            return
        found = await tx.releases.all_of_request(ReleaseSide.GIVEN, stored.request_id)
        given = [item for item in found if item.state is not ReleaseState.ERASED]
        if given:
            await self._take_back(tx, stored, given, RecallReason.NOT_JUSTIFIED, now)

    async def correct(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """Takes back what was released, for a record was wrong, and releases it anew as it is now.

        What the policy of this moment does not release by itself any more is taken back only.

        Raises:
            RefusedError: REQUEST_UNKNOWN where nothing is released.
        """
        stored, releases = await self._given(tx, str(order.target))
        subject = self._subject(stored)
        await self._take_back(tx, stored, releases, RecallReason.RECORD_WRONG, now)
        until = min(item.purge_after for item in releases)
        if now < until and await self._holder.release_again(tx, stored, until):
            return Effect(f"Corrected: {stored.peer} gets it anew.", subject, stored.policy_hash)
        return Effect(f"Taken back, and nothing to release: {stored.peer} is told.", subject)

    async def _given(
        self, tx: NodeTransaction, request_id: str
    ) -> tuple[StoredRequest, tuple[StoredRelease, ...]]:
        stored = await tx.requests.get(Direction.RECEIVED, request_id)
        found = await tx.releases.all_of_request(ReleaseSide.GIVEN, request_id)
        releases = tuple(item for item in found if not item.state.closed)
        if stored is None or stored.wrapped is None or not releases:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "nothing is released for this request")
        return stored, releases

    async def _take_back(
        self,
        tx: NodeTransaction,
        stored: StoredRequest,
        releases: Sequence[StoredRelease],
        reason: RecallReason,
        now: datetime,
    ) -> None:
        ctx = self._context
        if stored.wrapped is None:
            raise AssertionError("a request with releases has its contents")
        contents = ctx.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        request = open_document(DisclosureRequest, contents.envelope)
        await self.post_recall(
            tx, stored.peer, LinkageId(request.linkage), request.link_token, releases, reason, now
        )
        for release in releases:
            await ctx.log.append(
                tx,
                AuditAction.WITHDRAWN,
                actor=str(ctx.me),
                subject=contents.subject,
                policy=release.policy_hash,
                ref=reference(release.release_hash),
                body={"request": str(stored.request_id), "reason": reason.value},
            )
        await tx.requests.settle(Direction.RECEIVED, stored.request_id, RequestState.RECALLED)

    async def take_back_pushed(
        self, tx: NodeTransaction, release: StoredRelease, reason: RecallReason, now: datetime
    ) -> None:
        """There was no request, and the hash alone says what is meant. It is not pushed again unchanged."""
        policy = await require_held_policy(tx, release.policy_hash)
        token = LinkTokenText(LinkToken.new().text)
        await self.post_recall(tx, release.peer, policy.linkages[0], token, (release,), reason, now)
        await self._context.log.append(
            tx,
            AuditAction.WITHDRAWN,
            actor=str(self._context.me),
            policy=release.policy_hash,
            ref=reference(release.release_hash),
            body={"pushed": True, "reason": reason.value},
        )

    async def post_recall(
        self,
        tx: NodeTransaction,
        peer: AgencyId,
        linkage: LinkageId,
        token: LinkTokenText,
        releases: Sequence[StoredRelease],
        reason: RecallReason,
        now: datetime,
    ) -> None:
        """Tells a recipient to purge releases; which link is meant counts only where none is named."""
        ctx = self._context
        hashes = tuple(Hash256(item.release_hash) for item in releases)
        recall = LinkRecall(ctx.new_id(), linkage, token, ctx.me, reason, hashes, now)
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "link-recall", ctx.signed(recall))

    # -- the subject's rights

    async def erase(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """Erases what disclosure holds about a subject, here and at whoever was released to.

        What was received is purged, what was given is recalled, requests lose their contents, and the
        details of the audit log lose their key: every proof stays valid.

        Raises:
            RefusedError: INVALID_ARGUMENT while a request about the subject is open, or a use of break-glass
                waits for its review.
        """
        ctx = self._context
        subject = SubjectId(str(order.target))
        mac = ctx.vault.subject_mac(subject)
        requests = await tx.requests.of_subject(mac)
        await _require_settled(tx, requests)
        received = await tx.releases.of_subject(ReleaseSide.RECEIVED, mac)
        for release in received:
            await self.purge(tx, release, ErasureReason.SUBJECT_RIGHT, now)
        given = await self._recall_all(tx, mac, requests, now)
        await tx.requests.forget_subject(mac)
        await tx.releases.forget_subject(mac)
        await tx.conflicts.forget_subject(mac)
        details = await ctx.log.erase(tx, subject)
        if not (requests or received or given or details):
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "nothing is held about this subject")
        await ctx.log.append(
            tx,
            AuditAction.ERASED,
            actor=str(order.officer),
            body={
                "what": "subject",
                "requests": len(requests),
                "purged": len(received),
                "recalled": given,
            },
        )
        return Effect(
            f"Erased: {len(requests)} requests, {len(received)} releases received; {given} releases given"
            " are recalled; the audit log's details about the subject can never be read again."
        )

    async def _recall_all(
        self, tx: NodeTransaction, mac: str, requests: Sequence[StoredRequest], now: datetime
    ) -> int:
        """Recalls whatever was released about a subject and is not erased yet; returns how many."""
        ctx = self._context
        by_id = {str(item.request_id): item for item in requests if item.direction is Direction.RECEIVED}
        found = await tx.releases.of_subject(ReleaseSide.GIVEN, mac)
        releases = [item for item in found if not item.state.closed]
        for release in releases:
            stored = by_id.get(str(release.request_id))
            if stored is not None and stored.wrapped is not None:
                await self._take_back(tx, stored, (release,), RecallReason.SUBJECT_WITHDRAWN, now)
                continue
            await self.take_back_pushed(tx, release, RecallReason.SUBJECT_WITHDRAWN, now)
        if releases:
            _log.info("recalled for a subject's right", releases=len(releases), node=str(ctx.me))
        return len(releases)

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


async def _require_settled(tx: NodeTransaction, requests: Sequence[StoredRequest]) -> None:
    """Nothing is erased that somebody has yet to decide or review."""
    for stored in requests:
        if stored.state in (RequestState.WAITING, RequestState.SENT):
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT,
                f"request {stored.request_id} about the subject is open: answer or withdraw it first",
            )
        use = await tx.emergencies.get(stored.direction, stored.request_id)
        if use is not None and use.reviewed is None:
            raise RefusedError(
                ErrorCode.INVALID_ARGUMENT,
                f"break-glass in request {stored.request_id} is not reviewed yet: review it first",
            )
