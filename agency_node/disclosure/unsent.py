"""Releases that wait to be sent: none leaves by a decision that would not be taken any more.

A field leaves only where it is permitted at that moment, and the moment is that of leaving. So just before
the mailbox hands a release to the broker, it is decided again, by the policy, the approvals and the records
of now: it leaves if that comes to the same, and if the decision on record is a few minutes old at most. What
does not stand is taken out of the queue in one transaction with all that follows: it is on record, the
recipient is told to purge it (the broker may have it, though its acknowledgement was lost), and the request
is decided anew. What was pushed is forgotten, so that the next look pushes what may be pushed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.decide import content_of
from agency_node.disclosure.held import require_held_policy
from agency_node.disclosure.holder import Holder
from agency_node.disclosure.messages import DisclosureAnswer
from agency_node.disclosure.model import (
    Direction,
    ReleaseSide,
    ReleaseState,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.disclosure.push import Pushing
from agency_node.disclosure.retention import Retention
from agency_node.model import CarriedRelease, OutboxItem
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from crypto.tokens import LinkToken
from policies.codec import document_hash, open_document
from policies.disclosure import RecallReason, ReleasedRecord
from policies.errors import PolicyError
from policies.ids import LinkTokenText
from protos.wire.errors import RefusedError
from protos.wire.relay import ToLink

_log = structlog.get_logger("disclosure")


class UnsentReleases:
    """Guards the mailbox's way out: see `agency_node.mailbox.SendingGuard`."""

    def __init__(
        self, context: DisclosureContext, holder: Holder, pushing: Pushing, retention: Retention
    ) -> None:
        self._context = context
        self._holder = holder
        self._pushing = pushing
        self._retention = retention

    def carried(self, envelope: Envelope) -> CarriedRelease | None:
        """The release in an answer or in what is pushed; None for a refusal."""
        release = open_document(DisclosureAnswer, envelope).release
        if release is None:
            return None
        return CarriedRelease(document_hash(release), release.released_at, self._content(release.records))

    async def stands(self, tx: NodeTransaction, item: OutboxItem, release: CarriedRelease) -> bool:
        """Whether it was decided just now, has not arrived, and would be released the same at this moment.

        Raises:
            NodeError, SourceError: that cannot be found out just now.
        """
        ctx = self._context
        now = ctx.now()
        if abs(now - release.decided) > ctx.settings.stands:
            return False
        given = await tx.releases.get(ReleaseSide.GIVEN, release.release_hash)
        if given is None or given.state is not ReleaseState.OPEN:
            return False
        try:
            return self._content(await self._released_now(tx, item, given, now)) == release.content
        except (RefusedError, PolicyError, CryptoError):
            return False

    async def _released_now(
        self, tx: NodeTransaction, item: OutboxItem, given: StoredRelease, now: datetime
    ) -> Sequence[ReleasedRecord]:
        if given.request_id is not None:
            stored = await tx.requests.get(Direction.RECEIVED, given.request_id)
            return () if stored is None else await self._holder.released_now(tx, stored)
        if not isinstance(item.address, ToLink):
            return ()
        # A request names its policy; a push has to be under the one that it was made under, not another.
        ctx = self._context
        await ctx.book.active_policy(tx, given.policy_hash, ctx.registry_at(now), now)
        return await self._pushing.released_now(tx, item.address.token, now)

    def _content(self, records: Sequence[ReleasedRecord]) -> str:
        return self._context.vault.item_id("release", content_of(records))

    async def withdraw(self, tx: NodeTransaction, item: OutboxItem, release: CarriedRelease) -> None:
        """Closes the release, recalls it, and lets the request be decided or the link be looked at anew.

        One whose receipt is here had left before: there is nothing to take back.

        Raises:
            RefusedError: TRUST_EXPIRED; then it stays in the queue, and here.
        """
        ctx = self._context
        now = ctx.now()
        given = await tx.releases.get(ReleaseSide.GIVEN, release.release_hash)
        if given is None:
            raise AssertionError("what is queued was noted in the same transaction")
        if given.state is not ReleaseState.OPEN:
            return
        stored = None
        if given.request_id is not None:
            stored = await tx.requests.get(Direction.RECEIVED, given.request_id)
        await tx.releases.set_state(ReleaseSide.GIVEN, given.release_hash, ReleaseState.WITHDRAWN)
        await self._note(tx, item, given, stored, now)
        if ctx.registry_at(now).agency(given.peer) is None:
            await self._without_peer(tx, stored)
            return
        policy = await require_held_policy(tx, given.policy_hash)
        token = LinkTokenText(LinkToken.new().text)
        reason = RecallReason.POLICY_ENDED
        await self._retention.post_recall(tx, given.peer, policy.linkages[0], token, (given,), reason, now)
        if stored is not None:
            await self._holder.decide_unsent(tx, stored, given.purge_after)
        elif isinstance(item.address, ToLink):
            await tx.pushes.forget(item.address.token)

    async def _without_peer(self, tx: NodeTransaction, stored: StoredRequest | None) -> None:
        """The requester has left the federation: there is nobody to answer."""
        if stored is not None and stored.state is RequestState.RELEASED:
            await tx.requests.settle(Direction.RECEIVED, stored.request_id, RequestState.RECALLED)

    async def _note(
        self,
        tx: NodeTransaction,
        item: OutboxItem,
        given: StoredRelease,
        stored: StoredRequest | None,
        now: datetime,
    ) -> None:
        await self._context.log.append(
            tx,
            AuditAction.WITHDRAWN,
            actor=str(self._context.me),
            subject=await self._subject(tx, item, stored, now),
            policy=given.policy_hash,
            ref=reference(given.release_hash),
            body={
                "release": given.release_hash,
                "request": str(given.request_id or ""),
                "requester": str(given.peer),
                "sent": False,
            },
        )
        _log.warning("release withdrawn unsent", peer=str(given.peer))

    async def _subject(
        self, tx: NodeTransaction, item: OutboxItem, stored: StoredRequest | None, now: datetime
    ) -> SubjectId | None:
        if stored is not None and stored.wrapped is not None:
            vault = self._context.vault
            return vault.open_request(stored.direction, stored.request_id, stored.wrapped).subject
        if isinstance(item.address, ToLink):
            found = await self._context.links.by_token(tx, item.address.token, now)
            return None if found is None else found.subject_id
        return None
