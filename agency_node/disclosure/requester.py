"""The asking side: a request is prepared, signed by its officer, sent and answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from agency_node.disclosure.asks import (
    LIFETIMES,
    approvals_needed,
    asks_of,
    built,
    require_case_reference,
    require_emergency,
    require_fitting,
    require_officer,
    words_of,
)
from agency_node.disclosure.context import DisclosureContext, verified_request
from agency_node.disclosure.emergencies import UNREVIEWED_AT_MOST
from agency_node.disclosure.evidence import evidence_of
from agency_node.disclosure.held import id_is_taken, require_held_policy
from agency_node.disclosure.messages import BreakGlassNotice, DisclosureAnswer, RequestWithdrawal
from agency_node.disclosure.model import (
    Direction,
    EmergencyUse,
    ReleaseSide,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.disclosure.order_service import Effect
from agency_node.disclosure.orders import OVERSIGHT, OfficerOrder
from agency_node.disclosure.received import Arrived, keep_release, require_keepable
from agency_node.disclosure.retention import Retention
from agency_node.disclosure.supervision import CONFLICT, Occasion, Supervision
from agency_node.disclosure.vault import RequestContents
from agency_node.documents import ActivePolicy
from agency_node.links import SubjectLink
from agency_node.mailbox import OpenedMessage
from agency_node.rpc.ports import PreparedDocument, RequestDraft
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.envelope import Envelope, add_signature
from crypto.errors import CryptoError, TokenError
from crypto.tokens import LinkToken
from policies.codec import open_document, payload_type, write
from policies.disclosure import (
    BreakGlass,
    DisclosureRelease,
    DisclosureRequest,
    ErasureReason,
)
from policies.errors import DocumentError, PolicyError
from policies.ids import (
    AgencyId,
    Hash256,
    Line,
    LinkTokenText,
    PersonId,
    Prose,
)
from policies.registry import Registry
from policies.sharing import SharingPolicy
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import LinkReference, ToAgency, ToLink


class Requester:
    """Makes requests of this agency's officers, and takes the answers."""

    def __init__(self, context: DisclosureContext, retention: Retention, supervision: Supervision) -> None:
        self._context = context
        self._retention = retention
        self._supervision = supervision

    # -- preparing

    async def prepare(self, draft: RequestDraft) -> PreparedDocument:
        """The request that the draft describes, for its officer to sign.

        Raises:
            RefusedError: TOKEN_UNKNOWN, POLICY_NOT_ACTIVE, OFFICER_UNKNOWN, NOT_ALLOWED for an agency whose
                name is withheld, CONFLICT_OF_INTEREST, REQUEST_INVALID for anything that the policy would
                not answer.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        officer, role, purpose, urgency = words_of(draft)
        require_officer(registry, ctx.me, officer, role, now)
        await self._require_disinterested(officer, draft.link_token, now)
        async with ctx.store.transaction() as tx:
            found, provider = await self._link(tx, draft.link_token, now)
            active = await self._policy(tx, found.link.policy_hash, provider, draft.tier, registry, now)
            asks = asks_of(active.policy, provider, ctx.me, role, purpose, draft)
            require_emergency(active.policy, role, draft)
            linkage = found.link.linkage_id
            kind, keys = await ctx.identity_keys(tx, linkage, found.link.epoch, registry, now)
        holding = await ctx.reader.holding(found.subject_id, kind)
        if holding is None:
            raise RefusedError(
                ErrorCode.REQUEST_INVALID, "this agency's source no longer holds the subject of the link"
            )
        request_id = ctx.new_id()
        evidence = evidence_of(holding.subject, kind, active.policy, keys[0], request_id)
        request = built(
            lambda: DisclosureRequest(
                federation=registry.federation,
                id=request_id,
                linkage=linkage,
                policy=active.policy.id,
                policy_hash=active.document_hash,
                link_token=LinkTokenText(draft.link_token),
                requester=ctx.me,
                officer=officer,
                role=role,
                purpose=purpose,
                tier=draft.tier,
                asks=asks,
                necessity=Prose(draft.necessity),
                case_reference=Line(draft.case_reference),
                urgency=urgency,
                created=now,
                expires=now + LIFETIMES[urgency],
                identity_evidence=evidence,
                provider=provider,
                break_glass=_claim(draft, now),
            )
        )
        require_case_reference(active.policy, request)
        return PreparedDocument(write(request), payload_type(DisclosureRequest))

    async def _require_disinterested(self, officer: PersonId, token: str, now: datetime) -> None:
        """Raises RefusedError: CONFLICT_OF_INTEREST, with the attempt on record and in the queue."""
        ctx = self._context
        async with ctx.store.transaction() as tx:
            found, provider = await self._link(tx, token, now)
            if not await self._supervision.conflicted(tx, officer, found.subject_id):
                return
            await ctx.log.append(
                tx,
                AuditAction.DISCLOSURE_REFUSED,
                actor=str(officer),
                subject=found.subject_id,
                policy=found.link.policy_hash or None,
                body={"outcome": "refused", "code": "conflict_of_interest", "provider": str(provider)},
            )
            occasion = Occasion("", officer, provider, found.link.policy_hash, now)
            about = f"{officer} {ctx.vault.subject_mac(found.subject_id)}"
            await self._supervision.alarm(tx, CONFLICT, occasion, about)
        raise RefusedError(
            ErrorCode.CONFLICT_OF_INTEREST, "you may not ask about this subject; another officer must"
        )

    async def _link(self, tx: NodeTransaction, token: str, now: datetime) -> tuple[SubjectLink, AgencyId]:
        try:
            raw = LinkToken.parse(token).raw
        except TokenError as error:
            raise RefusedError(ErrorCode.TOKEN_UNKNOWN, f"not a link token: {error}") from None
        found = await self._context.links.by_token(tx, raw, now)
        if found is None:
            raise RefusedError(
                ErrorCode.TOKEN_UNKNOWN,
                "this link token is not held here: it was never told, was recalled, or has expired",
            )
        if found.link.counterpart is None:
            raise RefusedError(
                ErrorCode.NOT_ALLOWED,
                "the agency behind this link is not named and cannot be asked; speak to the coordinator",
            )
        return found, found.link.counterpart

    async def _policy(
        self,
        tx: NodeTransaction,
        policy_hash: str,
        provider: AgencyId,
        tier: int,
        registry: Registry,
        now: datetime,
    ) -> ActivePolicy:
        try:
            active = await self._context.book.active_policy(tx, policy_hash, registry, now, provider)
        except (PolicyError, CryptoError) as error:
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, f"the policy does not verify: {error}") from None
        if self._context.me not in active.policy.recipients:
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, "this agency receives nothing under the policy")
        ceiling = active.ceiling.tier
        if ceiling is None or tier > ceiling:
            reasons = "; ".join(active.ceiling.reasons) or f"the policy allows tier {ceiling} at most"
            raise RefusedError(ErrorCode.POLICY_NOT_ACTIVE, f"tier {tier} cannot be asked now: {reasons}")
        return active

    # -- sending

    async def submit(self, data: bytes) -> str:
        """Checks the officer's signature, adds the node's, and sends the request; returns its id.

        Raises:
            RefusedError: REQUEST_INVALID, SIGNATURE_INVALID, OFFICER_UNKNOWN, REQUEST_REPLAYED, and as
                `prepare`.
        """
        ctx = self._context
        now = ctx.now()
        registry = ctx.registry_at(now)
        try:
            signed = Envelope.from_bytes(data)
            request = open_document(DisclosureRequest, signed)
        except (CryptoError, DocumentError) as error:
            raise RefusedError(
                ErrorCode.REQUEST_INVALID, f"not a signed disclosure request: {error}"
            ) from None
        if request.requester != ctx.me or request.federation != registry.federation:
            raise RefusedError(ErrorCode.ACTING_FOR_ANOTHER, "the request is not one of this agency")
        if len(signed.signatures) != 1:
            raise RefusedError(
                ErrorCode.SIGNATURE_INVALID, "a request is handed in with its officer's signature alone"
            )
        if now >= request.expires:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "the request's time is up: prepare it anew")
        envelope = add_signature(signed, ctx.identity.signer)
        verified = verified_request(envelope, registry, now)
        self._require_fresh(request, now)
        await self._require_disinterested(request.officer, request.link_token, now)
        async with ctx.store.transaction() as tx:
            found, provider = await self._link(tx, request.link_token, now)
            if provider != request.provider or found.link.linkage_id != request.linkage:
                raise RefusedError(ErrorCode.REQUEST_INVALID, "the request names another agency or linkage")
            active = await self._policy(tx, request.policy_hash, provider, request.tier, registry, now)
            if await tx.emergencies.suspends(request.officer, now):
                raise RefusedError(
                    ErrorCode.NOT_ALLOWED,
                    "a use of break-glass by the officer is not reviewed in time, or was not justified;"
                    " the privacy officer must act",
                )
            waiting = await tx.emergencies.waiting_of(request.officer, but=request.id)
            if request.break_glass is not None and waiting >= UNREVIEWED_AT_MOST:
                raise RefusedError(
                    ErrorCode.NOT_ALLOWED,
                    f"{waiting} uses of break-glass by the officer wait for their review; ring the agency",
                )
            if await id_is_taken(tx, request.id):
                raise RefusedError(
                    ErrorCode.REQUEST_REPLAYED, "this request was handed in before, or its id is taken"
                )
            message_id = await ctx.mailbox.post(
                tx,
                ToLink(found.link.token),
                provider,
                "disclosure-request",
                envelope,
                request.expires,
            )
            stored = await self._keep(
                tx, found, provider, active, request, verified.hash, envelope, message_id
            )
            await self._supervision.watch(tx, stored, now)
            await self._note_made(tx, found.subject_id, provider, active, request, now)
        ctx.mailbox.nudge()
        return str(request.id)

    def _require_fresh(self, request: DisclosureRequest, now: datetime) -> None:
        claim = request.break_glass
        limit = timedelta(minutes=self._context.settings.sign_in_minutes)
        if claim is not None and not now - limit <= claim.authenticated_at <= now:
            raise RefusedError(
                ErrorCode.REQUEST_INVALID, "break-glass was claimed too long ago: prepare the request anew"
            )

    async def _keep(
        self,
        tx: NodeTransaction,
        found: SubjectLink,
        provider: AgencyId,
        active: ActivePolicy,
        request: DisclosureRequest,
        request_hash: Hash256,
        envelope: Envelope,
        message_id: str,
    ) -> StoredRequest:
        vault, link = self._context.vault, found.link
        contents = RequestContents(
            envelope,
            found.subject_id,
            LinkReference(link.handle, str(link.linkage_id), link.epoch, link.strength),
        )
        needed = approvals_needed(active.policy, provider, self._context.me, request)
        stored = StoredRequest(
            direction=Direction.MADE,
            request_id=request.id,
            request_hash=request_hash,
            peer=provider,
            state=RequestState.SENT,
            officer=request.officer,
            purpose=request.purpose,
            tier=request.tier,
            policy_hash=request.policy_hash,
            subject_mac=vault.subject_mac(found.subject_id),
            link_mac=vault.link_mac(link.token),
            created=request.created,
            expires=request.expires,
            approvals=0,
            approvals_needed=needed.count,
            message_id=message_id,
            wrapped=vault.wrap_request(Direction.MADE, request.id, contents),
            outcome=None,
            case_mac=vault.case_mac(request.case_reference),
        )
        await tx.requests.add(stored)
        return stored

    async def _note_made(
        self,
        tx: NodeTransaction,
        subject: SubjectId,
        provider: AgencyId,
        active: ActivePolicy,
        request: DisclosureRequest,
        now: datetime,
    ) -> None:
        log, ref = self._context.log, reference(request.id)
        await log.append(
            tx,
            AuditAction.DISCLOSURE_REQUESTED,
            actor=str(request.officer),
            subject=subject,
            policy=request.policy_hash,
            ref=ref,
            body={
                "request": str(request.id),
                "provider": str(provider),
                "role": request.role.value,
                "purpose": request.purpose.value,
                "tier": request.tier,
                "case_reference": str(request.case_reference),
                "necessity": str(request.necessity),
            },
        )
        if request.break_glass is None or active.policy.emergency is None:
            return
        due = now + timedelta(hours=active.policy.emergency.review_hours)
        use = EmergencyUse(
            request.id, Direction.MADE, request.officer, provider, request.policy_hash, now, due
        )
        await tx.emergencies.add(use)
        await log.append(
            tx,
            AuditAction.BREAK_GLASS_INVOKED,
            actor=str(request.officer),
            subject=subject,
            policy=request.policy_hash,
            ref=ref,
            body={"reason_code": str(request.break_glass.reason_code), "review_due": due.isoformat()},
        )

    async def undeliverable(
        self, tx: NodeTransaction, message_id: str, _purpose: str, _refusal: RefusedError
    ) -> None:
        """The broker will never take the request: its link is gone, or it waited too long."""
        stored = await tx.requests.by_message(message_id)
        if stored is not None and stored.state is RequestState.SENT:
            await tx.requests.settle(Direction.MADE, stored.request_id, RequestState.UNDELIVERABLE)

    async def withdraw(self, tx: NodeTransaction, order: OfficerOrder, now: datetime) -> Effect:
        """The officer who asked, or an overseer, withdraws a request that has not been answered.

        Raises:
            RefusedError: REQUEST_UNKNOWN, NOT_ALLOWED, INVALID_ARGUMENT where there is nothing to withdraw.
        """
        ctx = self._context
        stored = await tx.requests.get(Direction.MADE, str(order.target))
        if stored is None or stored.wrapped is None:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "no request with this id was made here")
        if order.officer != stored.officer and order.role not in OVERSIGHT:
            raise RefusedError(ErrorCode.NOT_ALLOWED, "only its officer or an overseer withdraws a request")
        if stored.state is not RequestState.SENT:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"the request is {stored.state.value} already")
        contents = ctx.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        withdrawal = RequestWithdrawal(
            ctx.new_id(), stored.request_id, Hash256(stored.request_hash), ctx.me, now
        )
        peer = stored.peer
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "disclosure-request", ctx.signed(withdrawal))
        await tx.requests.settle(Direction.MADE, stored.request_id, RequestState.WITHDRAWN)
        await ctx.log.append(
            tx,
            AuditAction.WITHDRAWN,
            actor=str(order.officer),
            subject=contents.subject,
            policy=stored.policy_hash,
            ref=reference(stored.request_id),
            body={"request": str(stored.request_id), "what": "request"},
        )
        return Effect(f"Withdrawn: {stored.peer} is told.", contents.subject, stored.policy_hash)

    # -- the answer

    async def take_answer(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Keeps an answer to a request of this agency, and returns the receipt of a release.

        A second release in answer to one request corrects the first, which is purged; a refusal may follow
        one that was recalled. A release that crossed a withdrawal on its way is received and purged at once.

        Raises:
            RefusedError: REQUEST_UNKNOWN, REQUEST_INVALID for a release that does not fit what was asked.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        answer = open_document(DisclosureAnswer, message.envelope)
        stored = await tx.requests.by_hash(Direction.MADE, answer.request_hash or "")
        if stored is None or stored.peer != message.sender or stored.wrapped is None:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "an answer came to a question that was not asked")
        correction = stored.state in (RequestState.RELEASED, RequestState.RECALLED)
        withdrawn = stored.state is RequestState.WITHDRAWN
        fits = answer.release or stored.state is RequestState.RECALLED
        if not (stored.state is RequestState.SENT or withdrawn or (correction and fits)):
            raise RefusedError(ErrorCode.REQUEST_REPLAYED, "a request was answered twice")
        contents = ctx.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        if contents.subject is None:
            raise AssertionError("a request that was made has a subject")
        request = open_document(DisclosureRequest, contents.envelope)
        if answer.release is not None:
            policy = await require_held_policy(tx, request.policy_hash)
            require_keepable(answer.release, policy, now)
            require_fitting(answer.release, request, ctx.me, message.sender)
            earlier = await self._corrected(tx, stored, answer.release) if correction else ()
            arrived = Arrived(
                message, answer.release, contents.subject, stored.link_mac, stored.officer, stored.request_id
            )
            if not await keep_release(ctx, self._retention, tx, arrived, now):
                return
            for item in earlier:
                await self._retention.purge(tx, item, ErasureReason.RECALLED, now)
            state = RequestState.RELEASED
            outcome = replace(answer, release=replace(answer.release, records=()))
        else:
            await self._take_refusal(tx, answer, stored, contents.subject)
            state, outcome = RequestState.REFUSED, answer
        wrapped = ctx.vault.wrap_outcome(stored.request_id, outcome)
        await tx.requests.settle(Direction.MADE, stored.request_id, state, wrapped)
        if withdrawn:
            for held in await tx.releases.all_of_request(ReleaseSide.RECEIVED, stored.request_id):
                await self._retention.purge(tx, held, ErasureReason.RECALLED, now)
            await tx.requests.settle(Direction.MADE, stored.request_id, RequestState.WITHDRAWN)
        elif answer.release is not None and not correction:
            await self._sample(tx, stored, request, policy, now)

    async def _corrected(
        self, tx: NodeTransaction, stored: StoredRequest, release: DisclosureRelease
    ) -> tuple[StoredRelease, ...]:
        """What a correction takes the place of; the retention clock goes on."""
        earlier = await tx.releases.all_of_request(ReleaseSide.RECEIVED, stored.request_id)
        if any(release.purge_after > item.purge_after for item in earlier):
            raise RefusedError(ErrorCode.REQUEST_INVALID, "a correction may not be kept for longer")
        if any(release.released_at < item.released for item in earlier):
            raise RefusedError(ErrorCode.REQUEST_REPLAYED, "what came is older than what it would correct")
        return earlier

    async def _sample(
        self,
        tx: NodeTransaction,
        stored: StoredRequest,
        request: DisclosureRequest,
        policy: SharingPolicy,
        now: datetime,
    ) -> None:
        """Draws what was released without anybody's approval for this agency's supervisors too."""
        if stored.approvals_needed == 0 and request.break_glass is None:
            occasion = Occasion(stored.request_id, stored.officer, stored.peer, stored.policy_hash, now)
            await self._supervision.sample(tx, occasion, policy.safeguards.review_sample_percent)

    async def _take_refusal(
        self, tx: NodeTransaction, answer: DisclosureAnswer, stored: StoredRequest, subject: SubjectId
    ) -> None:
        code = answer.refusal.code.value if answer.refusal else ""
        await self._context.log.append(
            tx,
            AuditAction.DISCLOSURE_REFUSED,
            actor=str(stored.peer),
            subject=subject,
            policy=stored.policy_hash,
            ref=reference(stored.request_id),
            body={"request": str(stored.request_id), "code": code},
        )

    async def release_of(self, tx: NodeTransaction, request_id: str) -> DisclosureRelease | None:
        """What was released in answer to a request, while it is kept."""
        held = await tx.releases.of_request(ReleaseSide.RECEIVED, request_id)
        if held is None or held.wrapped is None:
            return None
        kept = self._context.vault.open_release(held.release_hash, held.wrapped)
        return open_document(DisclosureAnswer, kept.answer).release

    async def take_notice(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Another agency says that it released something on an officer's claim of an emergency.

        The privacy officers here have it in their queue since the claim was made, with a deadline of this
        agency's own reckoning. So the notice decides nothing about an officer of this agency.

        Raises:
            RefusedError: REQUEST_UNKNOWN where no such claim was made here.
        """
        notice = open_document(BreakGlassNotice, message.envelope)
        stored = await tx.requests.by_hash(Direction.MADE, notice.request_hash)
        if stored is None or stored.peer != message.sender or notice.request != stored.request_id:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "a notice came of a request that was not made")
        if await tx.emergencies.get(Direction.MADE, stored.request_id) is None:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "a notice came of a claim that was not made")


def _claim(draft: RequestDraft, now: datetime) -> BreakGlass | None:
    """The claim of an emergency as of now: the officer's key was unlocked for it a moment ago."""
    claim = draft.break_glass
    return None if claim is None else BreakGlass(Line(claim.reason_code), Prose(claim.explanation), now)
