"""Releases that nobody asked for: tiers 0 and 1, where a clause of the policy says that they are pushed.

A link that is told or changes is looked at once soon after, and again every hour, so that a changed record
goes out too. What is the same as what went out last is not sent again; what is not the same is taken back.

Nothing is pushed on the broker's word. The provider first sends an offer, which says only that there is
something. The recipient answers with identity evidence of the subject whom it means by the link, made afresh
for this offer. Only if that is of the provider's subject too is the release decided and sent, with evidence
of the provider's own. Both are addressed by link token, so no agency learns the other's. The recipient's side
is in `agency_node.disclosure.pushed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from agency_node.disclosure.context import DisclosureContext
from agency_node.disclosure.decide import Weighed, content_of, weigh_push
from agency_node.disclosure.evidence import confirms, evidence_of
from agency_node.disclosure.messages import (
    AnswerTooLargeError,
    DisclosureAnswer,
    PushEvidence,
    PushOffer,
    PushProof,
    padded,
)
from agency_node.disclosure.model import Push, ReleaseSide, ReleaseState, StoredRelease
from agency_node.disclosure.provenance import with_provenance
from agency_node.disclosure.records import Holding
from agency_node.disclosure.retention import Retention
from agency_node.disclosure.supervision import IDENTITY, Occasion, Supervision
from agency_node.documents import ActivePolicy
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
    DisclosureRelease,
    Outcome,
    RecallReason,
    RefusalCode,
    ReleasedRecord,
)
from policies.errors import PolicyError
from policies.ids import AgencyId, Hash256, Line, LinkTokenText, PersonId, Prose
from policies.registry import Registry
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent, OfficerRole, Purpose, Strength
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import LinkEventKind
from protos.wire.relay import ToLink

_log = structlog.get_logger("push")

PUSHED_TIER = 1
#: How long an offer waits for evidence; so long after wrong evidence no other is made.
_OFFER_STANDS = timedelta(days=1)
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
        #: The policies under which something could be pushed when it was last looked.
        self._active: set[Hash256] | None = None

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
            await self._note_policies(tx, now)
            due = await tx.pushes.due(before, ctx.settings.pushes_at_once)
        for item in due:
            try:
                async with ctx.store.transaction() as tx:
                    digest = await self._look(tx, item, now)
                    await tx.pushes.looked_at(item.token, now, digest)
            except Exception as error:  # noqa: BLE001 - one link's fault must not hold up the others
                _log.warning("nothing pushed", error=type(error).__name__)
                async with ctx.store.transaction() as tx:
                    await tx.pushes.looked_at(item.token, now, item.digest)
        if due:
            ctx.mailbox.nudge()

    async def _note_policies(self, tx: NodeTransaction, now: datetime) -> None:
        """Where a policy has come, or its time, links are looked at again over which nothing could be pushed.

        A broker tells of a link under a policy that may not have reached this node yet.
        """
        ctx = self._context
        try:
            registry = ctx.registry_at(now)
        except RefusedError:
            return
        active = set[Hash256]()
        for policy_hash, policy, _state in await ctx.book.policies(tx, registry, now):
            pushes = any(push_clauses(policy, ctx.me, peer) for peer in policy.recipients)
            if pushes and await self._in_force(tx, policy_hash, registry, now) is not None:
                active.add(policy_hash)
        if self._active is not None and active - self._active:
            await tx.pushes.look_again()
        self._active = active

    async def _look(self, tx: NodeTransaction, push: Push, now: datetime) -> str:
        """Offers what has changed over one link; returns the digest of what stands of what was pushed."""
        found = await self._context.links.by_token(tx, push.token, now)
        if found is None:
            await tx.pushes.remove({push.token})
            return ""
        due = await self._due(tx, found, now)
        if due is None:
            return push.digest
        weighed = self._weighed(due, now)
        if weighed.released and self._digest(weighed) == push.digest:
            return push.digest
        if push.digest:
            await self._take_back(tx, due, now)
        if weighed.released and (push.no_offer_before is None or now >= push.no_offer_before):
            await self._offer(tx, due, now)
        return ""

    def _digest(self, weighed: Weighed) -> str:
        return self._context.vault.item_id("push", content_of(weighed.released))

    async def released_now(
        self, tx: NodeTransaction, token: bytes, now: datetime
    ) -> Sequence[ReleasedRecord]:
        """What would be pushed over a link at this moment, had evidence just come; nothing where none would.

        Raises:
            RefusedError, PolicyError, CryptoError, SourceError: it cannot be found out.
        """
        found = await self._context.links.by_token(tx, token, now)
        due = None if found is None else await self._due(tx, found, now)
        return () if due is None else self._weighed(due, now).released

    async def _take_back(self, tx: NodeTransaction, due: _Due, now: datetime) -> None:
        """What was pushed is no longer what may be pushed: a record changed, or was marked since."""
        link_mac = self._context.vault.link_mac(due.found.link.token)
        for release in await tx.releases.of_link(ReleaseSide.GIVEN, link_mac):
            if release.request_id is None and not release.state.closed:
                await self._retention.take_back_pushed(tx, release, RecallReason.RECORD_WRONG, now)

    async def _offer(self, tx: NodeTransaction, due: _Due, now: datetime) -> None:
        ctx, link = self._context, due.found.link
        offer = PushOffer(
            ctx.new_id(), link.linkage_id, due.active.document_hash, ctx.me, due.peer, offered_at=now
        )
        until = now + _OFFER_STANDS
        await tx.pushes.offered(link.token, document_hash(offer), until)
        await ctx.mailbox.post(tx, ToLink(link.token), due.peer, "push-offer", ctx.signed(offer), until)

    async def take_evidence(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Pushes over a link, if the recipient means the same subject by it.

        Raises:
            RefusedError: REQUEST_UNKNOWN for evidence that answers no offer of the present; what the policy
                and the registry of this moment do not allow.
        """
        ctx, now = self._context, message.received.replace(microsecond=0)
        given = open_document(PushEvidence, message.envelope)
        push = await tx.pushes.of_offer(given.offer_hash)
        found = None if push is None else await ctx.links.by_token(tx, push.token, now)
        due = None if found is None else await self._due(tx, found, now)
        if push is None or due is None or (due.peer, given.recipient) != (message.sender, message.sender):
            raise RefusedError(
                ErrorCode.REQUEST_UNKNOWN, "evidence came that answers no offer of the present"
            )
        offer_hash, link = given.offer_hash, due.found.link
        kind, keys = await ctx.identity_keys(tx, link.linkage_id, link.epoch, due.registry, now)
        if not confirms(given.identity_evidence, due.holding.subject, kind, keys, offer_hash):
            await self._note_wrong_subject(tx, due, offer_hash, now)
            await tx.pushes.answered(push.token, push.digest, now + _OFFER_STANDS)
            return
        weighed = self._weighed(due, now)
        if weighed.released:
            own = evidence_of(due.holding.subject, kind, due.active.policy, keys[0], offer_hash)
            await self._send(tx, due, weighed, PushProof(offer_hash, own), now)
        digest = self._digest(weighed) if weighed.released else ""
        await tx.pushes.answered(push.token, digest)

    async def _note_wrong_subject(
        self, tx: NodeTransaction, due: _Due, offer_hash: Hash256, now: datetime
    ) -> None:
        """The two agencies mean different subjects: nothing is pushed, and somebody looks at it."""
        ctx, policy_hash = self._context, due.active.document_hash
        await ctx.log.append(
            tx,
            AuditAction.DISCLOSURE_REFUSED,
            actor=str(ctx.me),
            subject=due.found.subject_id,
            policy=policy_hash,
            ref=reference(offer_hash),
            body={
                "pushed": True,
                "outcome": "refused",
                "code": RefusalCode.IDENTITY_NOT_CONFIRMED.value,
                "requester": str(due.peer),
            },
        )
        occasion = Occasion(offer_hash, "", due.peer, policy_hash, now)
        await self._supervision.alarm(tx, IDENTITY, occasion, ctx.vault.link_mac(due.found.link.token))

    async def _due(self, tx: NodeTransaction, found: SubjectLink, now: datetime) -> _Due | None:
        """The link under the one policy that lets something be pushed over it, if there is one."""
        ctx, link = self._context, found.link
        registry = ctx.registry_at(now)
        peer = link.counterpart
        if peer is None:
            return None
        for policy_hash, policy, _state in await ctx.book.policies(tx, registry, now):
            clauses = push_clauses(policy, ctx.me, peer)
            party = policy.party(ctx.me)
            if not clauses or link.linkage_id not in policy.linkages or party is None or party.name_withheld:
                continue
            active = await self._in_force(tx, policy_hash, registry, now)
            if active is None:
                continue
            agreement = await ctx.book.agreement(tx, link.linkage_id, registry, now)
            kind = agreement.agreement.subject_type
            holding = await ctx.reader.holding(found.subject_id, kind)
            if holding is None:
                return None
            known = await with_provenance(tx, ctx.vault, holding)
            return _Due(found, peer, active, clauses, known, registry)
        return None

    async def _in_force(
        self, tx: NodeTransaction, policy_hash: Hash256, registry: Registry, now: datetime
    ) -> ActivePolicy | None:
        try:
            return await self._context.book.active_policy(tx, policy_hash, registry, now)
        except (RefusedError, PolicyError, CryptoError):
            return None

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

    async def _send(
        self, tx: NodeTransaction, due: _Due, weighed: Weighed, proof: PushProof, now: datetime
    ) -> None:
        """Decision, audit entry, note and sealed release in one transaction, as for an answer."""
        ctx, policy = self._context, due.active.policy
        decision = ctx.signed(self._decision(due, weighed, proof.offer_hash, now))
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
            envelope = ctx.signed(padded(DisclosureAnswer(weighed.told, (), release=release, push=proof)))
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

    def _decision(
        self, due: _Due, weighed: Weighed, offer_hash: Hash256, now: datetime
    ) -> DisclosureDecision:
        ctx, policy = self._context, due.active.policy
        party = policy.party(ctx.me)
        if party is None:
            raise AssertionError("a provider is a party")
        clause = due.clauses[0]
        return DisclosureDecision(
            id=ctx.new_id(),
            request_hash=offer_hash,
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


def push_clauses(policy: SharingPolicy, provider: AgencyId, recipient: AgencyId) -> tuple[Clause, ...]:
    """The clauses under which one party pushes to another."""
    return tuple(
        clause
        for clause in policy.releases
        if clause.push and provider in clause.providers and recipient in clause.recipients
    )


def _shown(weighed: Weighed) -> dict[str, JsonInput]:
    shown: dict[str, list[JsonInput]] = {}
    for item in weighed.outcomes:
        if item.outcome is Outcome.RELEASED and str(item.field) not in shown.get(str(item.record_type), []):
            shown.setdefault(str(item.record_type), []).append(str(item.field))
    return {name: list(fields) for name, fields in shown.items()}
