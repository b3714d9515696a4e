"""Releases that nobody asked for, as their recipient takes them: see `agency_node.disclosure.push`.

An offer is answered with evidence of the subject whom this agency means by the link, and a release is kept
only if the provider's evidence is of that subject too. Else it is treated like an answer: on record,
receipted, purged in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from itertools import product

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.evidence import confirms, evidence_of
from agency_node.disclosure.messages import DisclosureAnswer, PushEvidence, PushOffer
from agency_node.disclosure.model import ReleaseSide, ReleaseState
from agency_node.disclosure.push import push_clauses
from agency_node.disclosure.received import Arrived, keep_release, require_keepable
from agency_node.disclosure.records import Holding
from agency_node.disclosure.retention import Retention
from agency_node.errors import RetryLaterError
from agency_node.mailbox import OpenedMessage
from agency_node.model import KnownLink
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from policies.agreement import SubjectType
from policies.codec import open_document
from policies.disclosure import DisclosureRelease, ErasureReason
from policies.ids import AgencyId, Hash256, LinkageId
from policies.sharing import SharingPolicy
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency


@dataclass(frozen=True, slots=True)
class _Meant:
    """Whom this agency means by the link over which another pushes, and the policy that lets it."""

    policy: SharingPolicy
    link: KnownLink
    subject_id: SubjectId = field(repr=False)
    holding: Holding = field(repr=False)
    kind: SubjectType
    keys: tuple[bytes, ...] = field(repr=False)


class PushedReleases:
    """Answers offers and takes what is pushed."""

    def __init__(self, context: DisclosureContext, retention: Retention) -> None:
        self._context = context
        self._retention = retention

    async def take_offer(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Says whom this agency means by a link over which another would push.

        Raises:
            RetryLaterError: the link was not told here yet, or the policy is not in force here.
            RefusedError: REQUEST_INVALID for what the policy does not let the sender push, NOT_ALLOWED.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        offer = open_document(PushOffer, message.envelope)
        if (offer.provider, offer.recipient) != (message.sender, ctx.me):
            raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "an offer was made in another agency's name")
        meant = await self._meant(tx, message, offer.policy_hash, now)
        if offer.linkage != meant.link.linkage_id or not push_clauses(meant.policy, message.sender, ctx.me):
            raise RefusedError(ErrorCode.REQUEST_INVALID, "the policy lets nothing be pushed over this link")
        offer_hash = Hash256(message.envelope.digest)
        evidence = evidence_of(meant.holding.subject, meant.kind, meant.policy, meant.keys[0], offer_hash)
        given = PushEvidence(offer_hash, ctx.me, evidence, now)
        peer = message.sender
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "push-evidence", ctx.signed(given))

    async def _meant(
        self, tx: NodeTransaction, message: OpenedMessage, policy_hash: Hash256, now: datetime
    ) -> _Meant:
        ctx = self._context
        if message.link is None:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "what is pushed is addressed by a link token")
        registry = ctx.registry_at(now)
        linkage = LinkageId(message.link.linkage_id)
        try:
            active = await ctx.book.active_policy(tx, policy_hash, registry, now, message.sender)
        except RefusedError:
            raise RetryLaterError("something is pushed under a policy that is not in force here") from None
        links = await tx.links.of_handle(linkage, message.link.handle)
        link = next((item for item in links if item.counterpart == message.sender), None)
        subject = await ctx.links.subject_of_handle(tx, linkage, message.link.handle)
        if link is None or subject is None:
            raise RetryLaterError("something is pushed over a link that is not told here yet")
        kind, keys = await ctx.identity_keys(tx, linkage, message.link.epoch, registry, now)
        holding = await ctx.reader.holding(subject, kind)
        if holding is None:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "the subject of the link is no longer held here")
        return _Meant(active.policy, link, subject, holding, kind, keys)

    async def take(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Keeps a pushed release in the place of earlier ones over the same link, and sends the receipt.

        Raises:
            RetryLaterError: the link was not told here yet.
            RefusedError: REQUEST_INVALID for anything that the policy does not let the sender push, or that
                is about another subject than this agency means by the link.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        answer = open_document(DisclosureAnswer, message.envelope)
        release, proof = answer.release, answer.push
        if release is None or release.request_hash is not None or proof is None:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "nothing was asked, and nothing is released")
        meant = await self._meant(tx, message, release.policy_hash, now)
        policy, link, subject = meant.policy, meant.link, meant.subject_id
        require_keepable(release, policy, now)
        _require_pushable(release, policy, ctx.me, message.sender, link.linkage_id)
        if not confirms(
            proof.identity_evidence, meant.holding.subject, meant.kind, meant.keys, proof.offer_hash
        ):
            raise RefusedError(ErrorCode.REQUEST_INVALID, "a release was pushed about somebody else")
        link_mac = ctx.vault.link_mac(link.token)
        earlier = await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac)
        arrived = Arrived(message, release, subject, link_mac, actor=str(ctx.me))
        if await keep_release(ctx, self._retention, tx, arrived, now):
            for item in earlier:
                if item.request_id is None and item.state is ReleaseState.OPEN:
                    await self._retention.purge(tx, item, ErasureReason.RECALLED, now)


def _require_pushable(
    release: DisclosureRelease,
    policy: SharingPolicy,
    me: AgencyId,
    sender: AgencyId,
    linkage: LinkageId,
) -> None:
    allowed = {
        (record_type, name)
        for clause in push_clauses(policy, sender, me)
        for record_type, name in product(clause.record_types, clause.fields)
    }
    given = {(record.record_type, name) for record in release.records for name in record.fields}
    fits = (
        (release.provider, release.recipient) == (sender, me)
        and linkage in policy.linkages
        and bool(given)
        and given <= allowed
    )
    if not fits:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, "a release was pushed that the policy does not let be pushed"
        )
