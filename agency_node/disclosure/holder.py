"""The holding side: a request comes in, is examined (see `examine`), and is answered or waits.

What leaves, leaves with its audit entry: decision record, audit entries, the note of the release and the
sealed answer are one transaction, and the mailbox sends what was committed only.

A refusal says no more than the requester knows already. Whatever depends on what is held here (nothing, a
decoy, everything withheld) is `not_available`, in the size and timing class of a release.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from agency_node.disclosure.cases import Case, Closed, Ready, Refused
from agency_node.disclosure.context import DisclosureContext, verified_request
from agency_node.disclosure.decide import Weighed, weigh
from agency_node.disclosure.examine import Examiner
from agency_node.disclosure.forms import decision_record, refusal_words
from agency_node.disclosure.held import held_policy, id_is_taken
from agency_node.disclosure.messages import (
    AnswerTooLargeError,
    BreakGlassNotice,
    DisclosureAnswer,
    RequestWithdrawal,
)
from agency_node.disclosure.model import (
    Direction,
    EmergencyUse,
    ReleaseSide,
    ReleaseState,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.disclosure.supervision import Occasion, Supervision
from agency_node.disclosure.vault import RequestContents
from agency_node.errors import NodeError
from agency_node.mailbox import OpenedMessage
from agency_node.ports import Append
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction, reference
from crypto.canonical import JsonInput
from crypto.envelope import Envelope
from crypto.errors import CryptoError
from policies.access import Asker
from policies.clauses import NO_APPROVALS
from policies.codec import document_hash, open_document
from policies.disclosure import (
    DisclosureReceipt,
    DisclosureRefusal,
    DisclosureRelease,
    DisclosureRequest,
    Outcome,
    RefusalCode,
    ReleasedRecord,
)
from policies.errors import PolicyError
from policies.ids import Hash256, LinkageId
from policies.registry import Registry
from policies.requests import VerifiedRequest
from policies.sharing import SharingPolicy
from policies.vocabulary import Consent
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency

_log = structlog.get_logger("disclosure")


class Holder:
    """Answers requests of other agencies."""

    def __init__(self, context: DisclosureContext, supervision: Supervision) -> None:
        self._context = context
        self._supervision = supervision
        self._examiner = Examiner(context, supervision)

    # -- a request comes in

    async def take_request(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Verifies a request and answers it, or lets it wait for approvals.

        Raises:
            RefusedError: it is not a request that could be answered: forged, replayed, in another's name.
        """
        ctx = self._context
        now = message.received.replace(microsecond=0)
        registry = ctx.registry_at(now)
        verified = self._verified(message, registry, now)
        request, link = verified.request, message.link
        if link is None or link.linkage_id != request.linkage:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "a request is addressed by a token of its linkage")
        if await id_is_taken(tx, request.id):
            raise RefusedError(ErrorCode.REQUEST_REPLAYED, "a request came under an id that is taken here")
        subject = await ctx.links.subject_of_handle(tx, LinkageId(link.linkage_id), link.handle)
        contents = RequestContents(message.envelope, subject, link)
        limited = await self._limit_reached(tx, request, now)
        stored = StoredRequest(
            direction=Direction.RECEIVED,
            request_id=request.id,
            request_hash=verified.hash,
            peer=request.requester,
            state=RequestState.WAITING,
            officer=request.officer,
            purpose=request.purpose,
            tier=request.tier,
            policy_hash=request.policy_hash,
            subject_mac=None if subject is None else ctx.vault.subject_mac(subject),
            link_mac=ctx.vault.link_mac(link.handle),
            created=now,
            expires=request.expires,
            approvals=0,
            approvals_needed=0,
            message_id=message.message_id,
            wrapped=ctx.vault.wrap_request(Direction.RECEIVED, request.id, contents),
            outcome=None,
            case_mac=ctx.vault.case_mac(request.case_reference),
        )
        await tx.requests.add(stored)
        await self._supervision.watch(tx, stored, now)
        case = Case(stored, request, contents, registry, now, message.received, ())
        await self._settle(tx, case, limited)

    def _verified(self, message: OpenedMessage, registry: Registry, now: datetime) -> VerifiedRequest:
        verified = verified_request(message.envelope, registry, now)
        request = verified.request
        if request.requester != message.sender:
            raise RefusedError(
                ErrorCode.ACTING_FOR_ANOTHER, "a request was made in the name of another agency"
            )
        if request.federation != registry.federation or request.provider not in (None, self._context.me):
            raise RefusedError(ErrorCode.REQUEST_INVALID, "a request was meant for another agency")
        return verified

    async def _limit_reached(self, tx: NodeTransaction, request: DisclosureRequest, now: datetime) -> bool:
        """Whether the asking agency's budgets for this day (UTC) are used up; counted by arrival."""
        policy = await held_policy(tx, request.policy_hash)
        if policy is None:
            return False
        day = now.replace(hour=0, minute=0, second=0)
        limits = policy.safeguards
        count, asker = tx.requests.count_since, request.requester
        return (
            await count(request.policy_hash, day, asker, officer=request.officer)
            >= limits.requests_per_officer_per_day
            or await count(request.policy_hash, day, asker, purpose=request.purpose)
            >= limits.requests_per_purpose_per_day
        )

    # -- deciding

    async def decide_again(self, tx: NodeTransaction, stored: StoredRequest) -> RequestState:
        """Decides a waiting request anew, with the approvals that are here now; returns its state."""
        if stored.wrapped is None or stored.state is not RequestState.WAITING:
            return stored.state
        return await self._settle(tx, await self._case(tx, stored, stored.wrapped), limited=False)

    async def take_withdrawal(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """The requester needs no answer any more; one that has left already is noted, and purged there.

        Raises:
            RefusedError: REQUEST_UNKNOWN.
        """
        ctx = self._context
        withdrawal = open_document(RequestWithdrawal, message.envelope)
        stored = await tx.requests.by_hash(Direction.RECEIVED, withdrawal.request_hash)
        if stored is None or stored.peer != message.sender or withdrawal.request != stored.request_id:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "a withdrawal came of a request that was not made")
        if stored.wrapped is None:
            return
        now = message.received.replace(microsecond=0)
        contents = ctx.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
        request = open_document(DisclosureRequest, contents.envelope)
        case = Case(stored, request, contents, ctx.registry_at(now), now, message.received, ())
        await self._note(tx, case, AuditAction.WITHDRAWN, {"what": "request", "state": stored.state.value})
        if stored.state is RequestState.WAITING:
            policy = await held_policy(tx, request.policy_hash)
            refused = Refused(RefusalCode.REQUEST_WITHDRAWN, "the requester withdrew it", policy)
            await self._refuse(tx, case, refused)
            await tx.requests.settle(Direction.RECEIVED, request.id, RequestState.WITHDRAWN)

    async def release_again(self, tx: NodeTransaction, stored: StoredRequest, until: datetime) -> bool:
        """Releases anew what was released and is taken back; whether anything was released.

        Only what the policy of this moment lets go with the approvals that are here.
        """
        try:
            again = await self._weighed_again(tx, stored, until)
            if again is None or not _goes(again[2]):
                return False
            await self._release(tx, *again)
        except (RefusedError, PolicyError, CryptoError, AnswerTooLargeError) as error:
            _log.warning("not released anew", request=str(stored.request_id), error=type(error).__name__)
            return False
        return True

    async def released_now(self, tx: NodeTransaction, stored: StoredRequest) -> Sequence[ReleasedRecord]:
        """What would be released in answer to a request at this moment; nothing where none would.

        Raises:
            RefusedError, PolicyError, CryptoError, NodeError: it cannot be found out.
        """
        again = await self._weighed_again(tx, stored, None)
        if again is None:
            return ()
        _, ready, weighed = again
        if isinstance(ready.known, Closed) and ready.known.failed:
            raise NodeError("what is held cannot be read just now")
        return weighed.released if _goes(weighed) else ()

    async def _weighed_again(
        self, tx: NodeTransaction, stored: StoredRequest, until: datetime | None
    ) -> tuple[Case, Ready, Weighed] | None:
        """A request that was answered, decided again with the approvals that are here; None if refused."""
        if stored.wrapped is None:
            return None
        case = await self._case(tx, stored, stored.wrapped, until)
        found = await self._examiner.examined(tx, case, limited=False)
        if isinstance(found, Refused):
            return None
        return case, found, self._weighed(case, found)

    async def decide_unsent(
        self, tx: NodeTransaction, stored: StoredRequest, until: datetime
    ) -> RequestState:
        """Decides once more what was released and has not left, as of this moment; returns the new state.

        Should it have left all the same, the requester may keep what it gets now no longer: `until`.
        """
        if stored.wrapped is None or stored.state is not RequestState.RELEASED:
            return stored.state
        await tx.requests.settle(Direction.RECEIVED, stored.request_id, RequestState.WAITING)
        case = await self._case(tx, stored, stored.wrapped, until)
        request = case.request
        if case.now >= min(request.expires, until):
            late = RefusalCode.REQUEST_EXPIRED, "its time is up", await held_policy(tx, request.policy_hash)
            return await self._refuse(tx, case, Refused(*late))
        return await self._settle(tx, case, limited=False)

    async def _case(
        self, tx: NodeTransaction, stored: StoredRequest, wrapped: bytes, until: datetime | None = None
    ) -> Case:
        """An earlier request as a case of this moment, with the approvals that are here now."""
        ctx = self._context
        now = ctx.now()
        contents = ctx.vault.open_request(stored.direction, stored.request_id, wrapped)
        request = open_document(DisclosureRequest, contents.envelope)
        approvals = await self._approvals(tx, stored)
        return Case(stored, request, contents, ctx.registry_at(now), now, ctx.clock(), approvals, until)

    async def _approvals(self, tx: NodeTransaction, stored: StoredRequest) -> tuple[Envelope, ...]:
        """Those that are here now."""
        vault, held = self._context.vault, await tx.approvals.of(stored.request_hash)
        return tuple(vault.open_approval(stored.request_hash, item) for item in held)

    async def _settle(self, tx: NodeTransaction, case: Case, limited: bool) -> RequestState:
        """Refuses, releases, or notes what is waited for."""
        try:
            found = await self._examiner.examined(tx, case, limited)
            if isinstance(found, Refused):
                return await self._refuse(tx, case, found)
            weighed = self._weighed(case, found)
        except (RefusedError, PolicyError, CryptoError) as error:
            return await self._refuse(tx, case, Refused(RefusalCode.NOT_AVAILABLE, f"error: {error}"))
        except Exception as error:  # noqa: BLE001 - an error denies, whatever it is, and is on record
            _log.error("decision failed", request=str(case.request.id), error=type(error).__name__)
            why = f"error: {type(error).__name__}"
            return await self._refuse(tx, case, Refused(RefusalCode.NOT_AVAILABLE, why))
        if weighed.missing != NO_APPROVALS:
            return await self._wait(tx, case, found, weighed)
        if not weighed.released:
            return await self._refuse(tx, case, _nothing(found, weighed))
        try:
            return await self._release(tx, case, found, weighed)
        except AnswerTooLargeError as error:
            refused = Refused(RefusalCode.NOT_AVAILABLE, str(error), found.active.policy, weighed)
            return await self._refuse(tx, case, refused)

    def _weighed(self, case: Case, ready: Ready) -> Weighed:
        ctx = self._context
        agency = case.registry.agency(ctx.me)

        def asker(consent: Consent) -> Asker:
            return ready.verified.asker(
                ctx.me,
                ready.strength,
                consent,
                ready.tally.approvals,
                break_glass=ready.emergency,
            )

        return weigh(
            ctx.evaluators.of(ready.active),
            asker,
            case.request.asks,
            ready.holding,
            agency_name=str(agency.name) if agency else str(ctx.me),
            ceiling=ready.active.ceiling.tier,
            today=case.now.date(),
            new_id=ctx.new_id,
        )

    # -- outcomes, each with its audit entries in the same transaction

    async def _wait(self, tx: NodeTransaction, case: Case, ready: Ready, weighed: Weighed) -> RequestState:
        given = ready.tally.approvals.count
        await tx.requests.set_approvals(
            Direction.RECEIVED, case.request.id, given, given + weighed.missing.count
        )
        body: dict[str, JsonInput] = {
            "outcome": "waiting",
            "missing": weighed.missing.count,
            "missing_from_provider": weighed.missing.from_provider,
        }
        if ready.alarm:
            body["alarm"] = ready.alarm
            await self._supervision.alarm(tx, ready.alarm, _occasion(case), str(case.request.officer))
        await self._note(tx, case, AuditAction.DISCLOSURE_DECIDED, body)
        return RequestState.WAITING

    async def _refuse(self, tx: NodeTransaction, case: Case, refused: Refused) -> RequestState:
        ctx, request = self._context, case.request
        if refused.policy is not None and refused.policy.party(ctx.me) is not None:
            decision = decision_record(
                ctx.new_id(), case.request, case.hash, refused.policy, ctx.me, case.approvals, (), case.now,
                outcomes=refused.weighed.outcomes if refused.weighed else (),
                reasons=refused.why, refusal=refused.code,
            )  # fmt: skip
            wrapped: bytes | None = ctx.vault.wrap_decision(request.id, ctx.signed(decision))
        else:
            wrapped = None
        body: dict[str, JsonInput] = {"outcome": "refused", "code": refused.code.value, "why": refused.why}
        if refused.alarm:
            body["alarm"] = refused.alarm
            await self._supervision.alarm(tx, refused.alarm, _occasion(case), str(request.officer))
        await self._note(tx, case, AuditAction.DISCLOSURE_REFUSED, body)
        await tx.requests.settle(Direction.RECEIVED, request.id, RequestState.REFUSED, wrapped)
        told = refused.told or refused.code
        refusal = DisclosureRefusal(ctx.new_id(), case.hash, told, refusal_words(told), case.now)
        answer = DisclosureAnswer((), (), case.hash, refusal=refusal)
        await ctx.send_answer(tx, request.requester, answer, case.asked)
        return RequestState.REFUSED

    async def _release(self, tx: NodeTransaction, case: Case, ready: Ready, weighed: Weighed) -> RequestState:
        ctx, request, policy = self._context, case.request, ready.active.policy
        decision = ctx.signed(
            decision_record(
                ctx.new_id(), request, case.hash, policy, ctx.me, case.approvals, ready.tally.approvers,
                case.now, outcomes=weighed.outcomes, reasons="the policy's clauses allow it", refusal=None,
            )
        )  # fmt: skip
        release = DisclosureRelease(
            id=ctx.new_id(),
            decision_hash=Hash256(decision.digest),
            policy=policy.id,
            policy_hash=request.policy_hash,
            link_token=request.link_token,
            provider=ctx.me,
            recipient=request.requester,
            released_at=case.now,
            purge_after=min(
                case.until or datetime.max.replace(tzinfo=UTC),
                case.now + timedelta(days=max(1, policy.obligations.retention_days)),
            ),
            handling_marking=policy.obligations.handling_marking,
            victim_contact_warning=policy.obligations.victim_contact_warning,
            onward_sharing=policy.obligations.onward_sharing,
            records=weighed.released,
            request_hash=case.hash,
        )
        answer = DisclosureAnswer(weighed.told, (), case.hash, release=release)
        await ctx.send_answer(tx, request.requester, answer, case.asked)
        release_hash = document_hash(release)
        await self._note_release(tx, case, weighed, release_hash)
        if weighed.emergency and case.until is None:
            await self._note_emergency(tx, case, policy)
        if ready.tally.approvals == NO_APPROVALS and not weighed.emergency:
            await self._supervision.sample(tx, _occasion(case), policy.safeguards.review_sample_percent)
        await tx.releases.add(
            StoredRelease(
                side=ReleaseSide.GIVEN,
                release_hash=release_hash,
                request_id=request.id,
                peer=request.requester,
                state=ReleaseState.OPEN,
                policy_hash=request.policy_hash,
                subject_mac=case.stored.subject_mac or "",
                link_mac=case.stored.link_mac,
                released=case.now,
                purge_after=release.purge_after,
                wrapped=None,
            )
        )
        wrapped = ctx.vault.wrap_decision(request.id, decision)
        approvals = ready.tally.approvals.count
        await tx.requests.set_approvals(
            Direction.RECEIVED, request.id, approvals, max(approvals, case.stored.approvals_needed)
        )
        await tx.requests.settle(Direction.RECEIVED, request.id, RequestState.RELEASED, wrapped)
        return RequestState.RELEASED

    async def _note_release(
        self, tx: NodeTransaction, case: Case, weighed: Weighed, release_hash: str
    ) -> None:
        shown: dict[str, list[str]] = {}
        clauses: set[int] = set()
        for item in weighed.outcomes:
            if item.outcome is Outcome.RELEASED:
                shown.setdefault(str(item.record_type), [])
                if item.field not in shown[item.record_type]:
                    shown[item.record_type].append(str(item.field))
                clauses |= set(item.clauses)
        await self._note(tx, case, AuditAction.DISCLOSURE_DECIDED, {"outcome": "released"})
        body: dict[str, JsonInput] = {
            "fields": {name: list(fields) for name, fields in shown.items()},
            "clauses": sorted(clauses),
            "records": len(weighed.released),
            "release": release_hash,
            "emergency": weighed.emergency,
        }
        await self._note(tx, case, AuditAction.DISCLOSURE_RELEASED, body, reference(release_hash))

    async def _note_emergency(self, tx: NodeTransaction, case: Case, policy: SharingPolicy) -> None:
        ctx, request = self._context, case.request
        claim, rules = request.break_glass, policy.emergency
        if claim is None or rules is None:
            raise AssertionError("an emergency release has a claim and rules")
        due = case.now + timedelta(hours=rules.review_hours)
        await tx.emergencies.add(
            EmergencyUse(
                request.id,
                Direction.RECEIVED,
                request.officer,
                request.requester,
                request.policy_hash,
                case.now,
                due,
            )
        )
        body: dict[str, JsonInput] = {"reason_code": str(claim.reason_code), "review_due": due.isoformat()}
        await self._note(tx, case, AuditAction.BREAK_GLASS_INVOKED, body)
        notice = BreakGlassNotice(
            ctx.new_id(), request.id, case.hash, ctx.me, request.requester, request.officer,
            claim.reason_code, case.now, due,
        )  # fmt: skip
        peer = request.requester
        await ctx.mailbox.post(tx, ToAgency(peer), peer, "break-glass-notice", ctx.signed(notice))

    async def _note(
        self,
        tx: NodeTransaction,
        case: Case,
        action: AuditAction,
        body: dict[str, JsonInput],
        ref: str | None = None,
    ) -> None:
        """One entry about the case: who asked, in which role, for what, under which policy."""
        request = case.request
        whole: dict[str, JsonInput] = {
            "request": str(request.id),
            "requester": str(request.requester),
            "role": request.role.value,
            "purpose": request.purpose.value,
            "tier": request.tier,
            "case_reference": str(request.case_reference),
            **body,
        }
        subject: SubjectId | None = case.contents.subject
        await self._context.log.append_all(
            tx,
            [
                Append(
                    action,
                    str(request.officer),
                    whole,
                    subject,
                    str(request.policy_hash),
                    ref or reference(request.id),
                )
            ],
        )

    # -- what comes back

    async def take_receipt(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        """Notes that a release arrived. Raises RefusedError: REQUEST_UNKNOWN."""
        receipt = open_document(DisclosureReceipt, message.envelope)
        release = await tx.releases.get(ReleaseSide.GIVEN, receipt.release_hash)
        if release is None or release.peer != message.sender or receipt.recipient != message.sender:
            raise RefusedError(
                ErrorCode.REQUEST_UNKNOWN, "a receipt came for a release that was not given to its sender"
            )
        if release.state is not ReleaseState.OPEN:
            return
        await tx.releases.set_state(ReleaseSide.GIVEN, release.release_hash, ReleaseState.RECEIPTED)
        await self._context.log.append(
            tx,
            AuditAction.RECEIPT_RECEIVED,
            actor=str(message.sender),
            body={"release": release.release_hash, "request": str(release.request_id or "")},
            policy=release.policy_hash,
            ref=reference(release.release_hash),
        )


def _nothing(ready: Ready, weighed: Weighed) -> Refused:
    """The refusal where nothing may be released: the requester never learns which reason it has."""
    known, policy, told = ready.known, ready.active.policy, RefusalCode.NOT_AVAILABLE
    if isinstance(known, Closed):
        return Refused(known.code, known.why, policy, weighed, known.alarm, told)
    return Refused(told, "no field may be released", policy, weighed)


def _goes(weighed: Weighed) -> bool:
    return weighed.missing == NO_APPROVALS and bool(weighed.released)


def _occasion(case: Case) -> Occasion:
    request = case.request
    return Occasion(str(request.id), request.officer, request.requester, str(request.policy_hash), case.now)
