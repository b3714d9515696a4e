"""Releases that nobody asked for: tiers 0 and 1, where a clause of the policy says that they are pushed.

A link that is told or changes is looked at once soon after, and again every hour, so that a changed record
goes out too. What is the same as what went out last is not sent again. The release is addressed by link
token, so that the recipient learns from the broker which of its own subjects is meant, and no agency learns
the other's token. The recipient treats it like an answer: on record, receipted, purged in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.decide import Weighed, weigh_push
from agency_node.disclosure.messages import AnswerTooLargeError, DisclosureAnswer, PushOccasion, padded
from agency_node.disclosure.model import ReleaseSide, ReleaseState, StoredRelease
from agency_node.disclosure.provenance import note_received, with_provenance
from agency_node.disclosure.records import Holding
from agency_node.disclosure.retention import Retention
from agency_node.disclosure.supervision import Occasion, Supervision
from agency_node.documents import ActivePolicy
from agency_node.errors import RetryLaterError
from agency_node.links import LinkNews, SubjectLink
from agency_node.mailbox import OpenedMessage
from agency_node.store.store import NodeTransaction
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from crypto.errors import CryptoError
from crypto.tokens import LinkToken
from policies.access import Asker
from policies.annexb import Requester, fill_annex_b
from policies.clauses import NO_APPROVALS, Clause
from policies.codec import document_hash, open_document
from policies.disclosure import (
    DisclosureDecision,
    DisclosureReceipt,
    DisclosureRelease,
    ErasureReason,
    Outcome,
)
from policies.errors import PolicyError
from policies.ids import AgencyId, Hash256, Line, LinkageId, LinkTokenText, PersonId, Prose
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import LinkEventKind
from protos.wire.relay import ToAgency, ToLink

_log = structlog.get_logger("push")

PUSHED_TIER = 1
#: Who is named as the requester in the record of a decision that nobody asked for.
_NOBODY = PersonId("nobody")


@dataclass(frozen=True, slots=True)
class _Due:
    """A link that may be pushed over now, under a policy of this moment."""

    found: SubjectLink
    peer: AgencyId
    active: ActivePolicy
    clauses: tuple[Clause, ...]
    holding: Holding = field(repr=False)
    registry: Registry = field(repr=False)


class Pushing:
    """Sends and takes releases without a request."""

    def __init__(self, context: DisclosureContext, retention: Retention, supervision: Supervision) -> None:
        self._context = context
        self._retention = retention
        self._supervision = supervision

    # -- the provider's side

    async def on_link_events(self, tx: NodeTransaction, events: Sequence[LinkNews]) -> None:
        """A link that is told or changes is looked at next; one that is recalled no more."""
        last = {news.link.token: news for news in events}
        recalled = {token for token, news in last.items() if news.kind is LinkEventKind.RECALLED}
        await tx.pushes.remove(recalled)
        await tx.pushes.add(
            {token for token, news in last.items() if news.link.counterpart is not None} - recalled
        )

    async def tick(self) -> None:
        """Looks at the links that are due. A link that cannot be looked at now waits for its next turn."""
        ctx = self._context
        now = ctx.now()
        before = now - timedelta(minutes=ctx.settings.push_minutes)
        async with ctx.store.transaction() as tx:
            due = await tx.pushes.due(before, ctx.settings.pushes_at_once)
        for item in due:
            try:
                async with ctx.store.transaction() as tx:
                    digest = await self._look(tx, item.token, item.digest, now)
                    await tx.pushes.looked_at(item.token, now, digest)
            except Exception as error:  # noqa: BLE001 - one link's fault must not hold up the others
                _log.warning("nothing pushed", error=type(error).__name__)
                async with ctx.store.transaction() as tx:
                    await tx.pushes.looked_at(item.token, now, item.digest)
        if due:
            ctx.mailbox.nudge()

    async def _look(self, tx: NodeTransaction, token: bytes, last: str, now: datetime) -> str:
        """Pushes what has changed over one link; returns the digest of what has been pushed."""
        found = await self._context.links.by_token(tx, token, now)
        if found is None:
            await tx.pushes.remove({token})
            return ""
        for due in await self._due(tx, found, now):
            weighed = self._weighed(due, now)
            digest = self._context.vault.item_id("push", _content(weighed))
            if not weighed.released or digest == last:
                return last
            await self._send(tx, due, weighed, now)
            return digest
        return last

    async def _due(self, tx: NodeTransaction, found: SubjectLink, now: datetime) -> Sequence[_Due]:
        """The link under the one policy that lets something be pushed over it, if there is one."""
        ctx, link = self._context, found.link
        registry = ctx.registry_at(now)
        peer = link.counterpart
        if peer is None:
            return ()
        for policy_hash, policy, _state in await ctx.book.policies(tx, registry, now):
            clauses = push_clauses(policy, ctx.me, peer)
            party = policy.party(ctx.me)
            if not clauses or link.linkage_id not in policy.linkages or party is None or party.name_withheld:
                continue
            try:
                active = await ctx.book.active_policy(tx, policy_hash, registry, now)
            except (RefusedError, PolicyError, CryptoError):
                continue
            agreement = await ctx.book.agreement(tx, link.linkage_id, registry, now)
            kind = agreement.agreement.subject_type
            holding = await ctx.reader.holding(found.subject_id, kind)
            if holding is None:
                return ()
            known = await with_provenance(tx, ctx.vault, holding)
            return (_Due(found, peer, active, clauses, known, registry),)
        return ()

    def _weighed(self, due: _Due, now: datetime) -> Weighed:
        ctx = self._context
        agency = due.registry.agency(ctx.me)
        strength = Strength(due.found.link.strength.value)

        def asker(role: OfficerRole, purpose: Purpose, consent: Consent) -> Asker:
            return Asker(ctx.me, due.peer, role, purpose, PUSHED_TIER, strength, consent, NO_APPROVALS)

        return weigh_push(
            ctx.evaluators.of(due.active),
            asker,
            due.clauses,
            due.holding,
            agency_name=str(agency.name) if agency else str(ctx.me),
            ceiling=due.active.ceiling.tier,
            today=now.date(),
            new_id=ctx.new_id,
        )

    async def _send(self, tx: NodeTransaction, due: _Due, weighed: Weighed, now: datetime) -> None:
        """Decision, audit entry, note and sealed release in one transaction, as for an answer."""
        ctx, policy = self._context, due.active.policy
        decision = ctx.signed(self._decision(due, weighed, now))
        release = DisclosureRelease(
            id=ctx.new_id(),
            decision_hash=Hash256(decision.digest),
            policy=policy.id,
            policy_hash=due.active.document_hash,
            # Means nothing: the recipient has a token of its own, and must not learn this agency's.
            link_token=LinkTokenText(LinkToken.new().text),
            provider=ctx.me,
            recipient=due.peer,
            released_at=now,
            purge_after=now + timedelta(days=max(1, policy.obligations.retention_days)),
            handling_marking=policy.obligations.handling_marking,
            victim_contact_warning=policy.obligations.victim_contact_warning,
            onward_sharing=policy.obligations.onward_sharing,
            records=weighed.released,
        )
        try:
            envelope = ctx.signed(padded(DisclosureAnswer(weighed.told, (), release=release)))
        except AnswerTooLargeError as error:
            raise RefusedError(ErrorCode.TOO_LARGE, str(error)) from None
        release_hash = document_hash(release)
        subject, link = due.found.subject_id, due.found.link
        await ctx.mailbox.post(tx, ToLink(link.token), due.peer, "disclosure-answer", envelope)
        body: dict[str, JsonInput] = {
            "pushed": True,
            "requester": str(due.peer),
            "fields": _shown(weighed),
            "clauses": sorted({number for item in weighed.outcomes for number in item.clauses}),
            "records": len(weighed.released),
            "release": release_hash,
            "decision": decision.digest,
        }
        decided: dict[str, JsonInput] = {"pushed": True, "outcome": "released"}
        for action, details in (
            (AuditAction.DISCLOSURE_DECIDED, decided),
            (AuditAction.DISCLOSURE_RELEASED, body),
        ):
            await ctx.log.append(
                tx,
                action,
                actor=str(ctx.me),
                subject=subject,
                policy=due.active.document_hash,
                ref=reference(release_hash),
                body=details,
            )
        await tx.releases.add(
            StoredRelease(
                side=ReleaseSide.GIVEN,
                release_hash=release_hash,
                request_id=None,
                peer=due.peer,
                state=ReleaseState.OPEN,
                policy_hash=due.active.document_hash,
                subject_mac=ctx.vault.subject_mac(subject),
                link_mac=ctx.vault.link_mac(link.token),
                released=now,
                purge_after=release.purge_after,
                # There is no request beside which the record of the decision could stand.
                wrapped=ctx.vault.wrap_decision(release_hash, decision),
            )
        )

        occasion = Occasion(release_hash, "", due.peer, due.active.document_hash, now)
        await self._supervision.sample(tx, occasion, policy.safeguards.review_sample_percent)

    def _decision(self, due: _Due, weighed: Weighed, now: datetime) -> DisclosureDecision:
        ctx, policy = self._context, due.active.policy
        party = policy.party(ctx.me)
        if party is None:
            raise AssertionError("a provider is a party")
        clause = due.clauses[0]
        occasion = PushOccasion(
            ctx.new_id(), due.found.link.linkage_id, due.active.document_hash, ctx.me, due.peer, now
        )
        return DisclosureDecision(
            id=ctx.new_id(),
            request_hash=Hash256(document_hash(occasion)),
            policy=policy.id,
            policy_hash=due.active.document_hash,
            provider=ctx.me,
            recipient=due.peer,
            annex_b=fill_annex_b(
                policy,
                party,
                Requester(due.peer, _NOBODY, clause.officer_roles[0]),
                clause.purposes[0],
                tuple(
                    (record_type, name)
                    for item in due.clauses
                    for record_type in item.record_types
                    for name in item.fields
                ),
                Prose("Pushed as the policy says, without a request."),
                Line("no case: pushed"),
            ),
            outcomes=weighed.outcomes,
            decided_by=(),
            approval_hashes=(),
            reasons=Prose("the policy's clauses let it be pushed"),
            requested_at=now,
            decided_at=now,
        )

    # -- the recipient's side

    async def take(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Keeps a pushed release in the place of earlier ones over the same link, and sends the receipt.

        Raises:
            RetryLaterError: the link was not told here yet.
            RefusedError: REQUEST_INVALID for anything that the policy does not let the sender push.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        release = open_document(DisclosureAnswer, message.envelope).release
        if release is None or release.request_hash is not None or message.link is None:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "nothing was asked, and nothing is released")
        registry = ctx.registry_at(now)
        linkage = LinkageId(message.link.linkage_id)
        try:
            held = await ctx.book.active_policy(tx, release.policy_hash, registry, now, message.sender)
        except RefusedError:
            raise RetryLaterError("a release was pushed under a policy that is not in force here") from None
        policy = held.policy
        _require_pushable(release, policy, ctx.me, message.sender, linkage)
        links = await tx.links.of_handle(linkage, message.link.handle)
        link = next((item for item in links if item.counterpart == message.sender), None)
        subject = await ctx.links.subject_of_handle(tx, linkage, message.link.handle)
        if link is None or subject is None:
            raise RetryLaterError("a release was pushed over a link that is not told here yet")
        release_hash = document_hash(release)
        if await tx.releases.get(ReleaseSide.RECEIVED, release_hash) is not None:
            raise RefusedError(ErrorCode.REQUEST_REPLAYED, "a release was pushed twice")
        link_mac = ctx.vault.link_mac(link.token)
        for earlier in await tx.releases.of_link(ReleaseSide.RECEIVED, link_mac):
            if earlier.request_id is None and earlier.state is ReleaseState.OPEN:
                await self._retention.purge(tx, earlier, ErasureReason.RECALLED, now)
        await tx.releases.add(
            StoredRelease(
                side=ReleaseSide.RECEIVED,
                release_hash=release_hash,
                request_id=None,
                peer=message.sender,
                state=ReleaseState.OPEN,
                policy_hash=release.policy_hash,
                subject_mac=ctx.vault.subject_mac(subject),
                link_mac=link_mac,
                released=release.released_at,
                purge_after=release.purge_after,
                wrapped=ctx.vault.wrap_release(release_hash, message.envelope),
            )
        )
        await note_received(tx, ctx.vault, release)
        body: dict[str, JsonInput] = {
            "pushed": True,
            "provider": str(message.sender),
            "records": len(release.records),
            "purge_after": release.purge_after.isoformat(),
        }
        for action in (AuditAction.DISCLOSURE_RECEIVED, AuditAction.RECEIPT_SENT):
            await ctx.log.append(
                tx,
                action,
                actor=str(ctx.me),
                subject=subject,
                policy=release.policy_hash,
                ref=reference(release_hash),
                body=body,
            )
        receipt = DisclosureReceipt(ctx.new_id(), Hash256(release_hash), ctx.me, now, release.purge_after)
        peer = message.sender
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "disclosure-receipt", ctx.signed(receipt))


def push_clauses(policy: SharingPolicy, provider: AgencyId, recipient: AgencyId) -> tuple[Clause, ...]:
    """The clauses under which one party pushes to another."""
    return tuple(
        clause
        for clause in policy.releases
        if clause.push and provider in clause.providers and recipient in clause.recipients
    )


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
    longest = release.released_at + timedelta(days=max(1, policy.obligations.retention_days))
    fits = (
        (release.provider, release.recipient) == (sender, me)
        and linkage in policy.linkages
        and bool(given)
        and given <= allowed
        and release.purge_after <= longest
        and not release.onward_sharing
    )
    if not fits:
        raise RefusedError(
            ErrorCode.REQUEST_INVALID, "a release was pushed that the policy does not let be pushed"
        )


def _shown(weighed: Weighed) -> dict[str, JsonInput]:
    shown: dict[str, list[JsonInput]] = {}
    for item in weighed.outcomes:
        if item.outcome is Outcome.RELEASED and str(item.field) not in shown.get(str(item.record_type), []):
            shown.setdefault(str(item.record_type), []).append(str(item.field))
    return {name: list(fields) for name, fields in shown.items()}


def _content(weighed: Weighed) -> str:
    """What is released, whatever the random ids of its records: personal data."""
    return "\n".join(
        sorted(
            repr((str(item.record_type), sorted((str(k), str(v)) for k, v in item.fields.items())))
            for item in weighed.released
        )
    )
