"""Disclosure as the rest of the node sees it: handlers for the mailbox, and what the control service asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from agency_node.audit import AuditLog
from agency_node.audit_export import export_broker_files, export_files
from agency_node.disclosure.approvals import Approvals
from agency_node.disclosure.broker_witness import BrokerWitness
from agency_node.disclosure.context import DisclosureContext, DisclosureSettings
from agency_node.disclosure.emergencies import list_emergencies
from agency_node.disclosure.held import held_request
from agency_node.disclosure.holder import Holder
from agency_node.disclosure.messages import DisclosureAnswer, RequestWithdrawal
from agency_node.disclosure.model import (
    Direction,
    ReleaseSide,
    RequestState,
    StoredRelease,
    StoredRequest,
)
from agency_node.disclosure.order_service import Orders
from agency_node.disclosure.orders import Act
from agency_node.disclosure.picture import picture_of
from agency_node.disclosure.push import PUSHED_TIER, Pushing
from agency_node.disclosure.pushed import PushedReleases
from agency_node.disclosure.records import SourceReader
from agency_node.disclosure.report import subject_report
from agency_node.disclosure.requester import Requester
from agency_node.disclosure.retention import Retention
from agency_node.disclosure.supervision import Supervision
from agency_node.disclosure.unsent import UnsentReleases
from agency_node.disclosure.vault import Vault
from agency_node.disclosure.viewing import EXPORTS, Viewing
from agency_node.disclosure.witnessing import Witnessing
from agency_node.links import LinkNews
from agency_node.mailbox import OpenedMessage
from agency_node.mapping import load_mapping
from agency_node.parts import NodeParts
from agency_node.rpc.ports import (
    BrokerLog,
    ConflictSummary,
    EmergencySummary,
    FieldOutcome,
    OrderDraft,
    PictureItem,
    PreparedApproval,
    PreparedDocument,
    RequestDetail,
    RequestDraft,
    RequestSummary,
    SubjectEntry,
    SupervisionSummary,
    Waiting,
)
from agency_node.sources import open_source
from agency_node.sources.ports import SubjectSource
from agency_node.store.store import NodeTransaction
from agency_node.subjects import SubjectId
from policies.codec import open_document, payload_type, write
from policies.disclosure import (
    Approval,
    DisclosureDecision,
    DisclosureRequest,
)
from policies.disclosure import FieldOutcome as DecidedField
from protos.wire.errors import ErrorCode, RefusedError


class Disclosure:
    """Requests, answers, approvals, retention, the picture, and the audit log's export and witnesses."""

    def __init__(self, context: DisclosureContext) -> None:
        self.context = context
        self._supervision = Supervision(context)
        self._holder = Holder(context, self._supervision)
        self._retention = Retention(context, self._holder)
        self._requester = Requester(context, self._retention, self._supervision)
        self._approvals = Approvals(context, self._holder, self._retention, self._supervision)
        self._pushing = Pushing(context, self._retention, self._supervision)
        self._pushed_here = PushedReleases(context, self._retention)
        self._orders = Orders(
            context,
            {
                Act.WITHDRAW_REQUEST: self._requester.withdraw,
                Act.RECALL_RELEASE: self._retention.recall,
                Act.CORRECT_RELEASE: self._retention.correct,
                Act.ERASE_SUBJECT: self._retention.erase,
                Act.SIGN_OFF: self._supervision.sign_off,
                Act.DECLARE_CONFLICT: self._supervision.declare,
                Act.LIFT_CONFLICT: self._supervision.lift,
            },
            {Act.DECLARE_CONFLICT: self._supervision.require_known},
        )
        self._viewing = Viewing(context, self._supervision)
        self._witnessing = Witnessing(context, self._supervision)
        self._broker_witness = BrokerWitness(context, self._supervision)
        self._broker_log: BrokerLog | None = None
        self._signed: datetime | None = None
        mailbox = context.mailbox
        mailbox.on("disclosure-request", self._take_question)
        mailbox.on("disclosure-answer", self._take_answer)
        mailbox.on("disclosure-receipt", self._holder.take_receipt)
        mailbox.on("link-recall", self._retention.take_recall)
        mailbox.on("erasure-receipt", self._retention.take_erasure)
        mailbox.on("break-glass-notice", self._requester.take_notice)
        mailbox.on("push-offer", self._pushed_here.take_offer)
        mailbox.on("push-evidence", self._pushing.take_evidence)
        mailbox.on("witness-request", self._witnessing.take_request)
        mailbox.on("witness-answer", self._witnessing.take_answer)
        guard = UnsentReleases(context, self._holder, self._pushing, self._retention)
        mailbox.before_sending("disclosure-answer", guard)
        mailbox.on_undeliverable("disclosure-request", self._requester.undeliverable)
        context.links.on_events(self._retention.on_link_events)
        context.links.on_events(self._pushing.on_link_events)
        context.links.on_events(self._what_waits_for_a_link)

    async def _what_waits_for_a_link(self, _tx: NodeTransaction, _events: Sequence[LinkNews]) -> None:
        self.context.mailbox.retry()

    async def _take_question(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        kind = message.envelope.payload_type
        if kind == payload_type(DisclosureRequest):
            await self._holder.take_request(tx, message)
        elif kind == payload_type(Approval):
            await self._approvals.take(tx, message)
        elif kind == payload_type(RequestWithdrawal):
            await self._holder.take_withdrawal(tx, message)
        else:
            raise RefusedError(ErrorCode.REQUEST_INVALID, "neither a request nor an approval of one")

    async def _take_answer(self, tx: NodeTransaction, message: OpenedMessage) -> None:
        if open_document(DisclosureAnswer, message.envelope).request_hash is None:
            await self._pushed_here.take(tx, message)
        else:
            await self._requester.take_answer(tx, message)

    # -- asking and approving

    async def prepare_request(self, draft: RequestDraft) -> PreparedDocument:
        """See `Requester.prepare`."""
        return await self._requester.prepare(draft)

    async def submit_request(self, envelope: bytes) -> str:
        """See `Requester.submit`."""
        return await self._requester.submit(envelope)

    async def prepare_approval(
        self, request_id: str, decision: str, reason: str, officer: str, role: str
    ) -> PreparedApproval:
        """See `Approvals.prepare`."""
        return await self._approvals.prepare(request_id, decision, reason, officer, role)

    async def submit_approval(self, envelope: bytes) -> str:
        """See `Approvals.submit`."""
        return await self._approvals.submit(envelope)

    async def prepare_order(self, draft: OrderDraft) -> PreparedDocument:
        """See `Orders.prepare`."""
        return await self._orders.prepare(draft)

    async def submit_order(self, envelope: bytes) -> str:
        """See `Orders.submit`."""
        return await self._orders.submit(envelope)

    # -- looking

    async def list_requests(self, direction: str) -> Sequence[RequestSummary]:
        """Requests made, received, or both where `direction` is empty; newest first.

        Raises:
            RefusedError: INVALID_ARGUMENT for another direction.
        """
        try:
            wanted = Direction(direction) if direction else None
        except ValueError:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, 'direction: "made", "received" or empty') from None
        async with self.context.store.transaction() as tx:
            return [self._summary(item) for item in await tx.requests.listed(wanted)]

    async def get_request(self, request_id: str) -> RequestDetail:
        """A request with its outcome; with what was released while it is kept.

        What was pushed has no request; it is found by the hash of its release. Officers look through
        `see_request`.

        Raises:
            RefusedError: REQUEST_UNKNOWN.
        """
        async with self.context.store.transaction() as tx:
            stored = await held_request(tx, request_id)
            if stored is not None and stored.direction is Direction.MADE:
                return await self._made(tx, stored)
            pushed = await tx.releases.get(ReleaseSide.GIVEN, request_id)
        if stored is None and pushed is not None and pushed.wrapped is not None:
            return self._pushed(pushed, pushed.wrapped)
        if stored is None:
            raise RefusedError(ErrorCode.REQUEST_UNKNOWN, "no request with this id is held here")
        return self._received(stored)

    async def request_summary(self, request_id: str) -> RequestSummary:
        """A request as it stands in the list. Raises RefusedError: REQUEST_UNKNOWN."""
        return (await self.get_request(request_id)).summary

    async def see_request(self, request_id: str, order: bytes) -> RequestDetail:
        """A request with its outcome, to an officer; on record before. Raises as `Viewing.admit`."""
        admitted = await self._viewing.admit(order, Act.SEE_REQUEST)
        if admitted.target != request_id:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "the order is to see another request")
        return await self.get_request(request_id)

    async def see_picture(self, order: bytes) -> Sequence[PictureItem]:
        """The picture of a subject, to an officer; on record before. Raises as `Viewing.admit`."""
        admitted = await self._viewing.admit(order, Act.SEE_PICTURE)
        return await self.picture(SubjectId(admitted.target))

    async def see_report(self, order: bytes) -> Sequence[SubjectEntry]:
        """Who saw what about a subject, to an overseer; on record before. Raises as `Viewing.admit`."""
        admitted = await self._viewing.admit(order, Act.SEE_REPORT)
        return await self.about_subject(SubjectId(admitted.target))

    async def see_audit(self, order: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
        """A log's files, to an overseer; on record before. Raises as `Viewing.admit`."""
        admitted = await self._viewing.admit(order, Act.EXPORT_AUDIT)
        if admitted.target not in EXPORTS:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, 'what to export: "own" or "broker"')
        async with aclosing(self.export_audit(broker=admitted.target == EXPORTS[1])) as chunks:
            async for chunk in chunks:
                yield chunk

    async def picture(self, subject_id: SubjectId) -> Sequence[PictureItem]:
        """See `picture_of`. Officers look through `see_picture`."""
        return await picture_of(self.context, subject_id)

    async def list_emergencies(self) -> Sequence[EmergencySummary]:
        """Uses of break-glass that wait for this agency's review, the most urgent first."""
        return await list_emergencies(self.context)

    async def list_supervision(self) -> Sequence[SupervisionSummary]:
        """What waits for a supervisor, oldest first."""
        async with self.context.store.transaction() as tx:
            return await self._supervision.queue(tx)

    async def list_conflicts(self) -> Sequence[ConflictSummary]:
        """Who may not ask about whom."""
        async with self.context.store.transaction() as tx:
            return [item async for item in self._supervision.conflicts(tx)]

    async def about_subject(self, subject_id: SubjectId) -> Sequence[SubjectEntry]:
        """Who saw what about a subject: see `subject_report`. Officers look through `see_report`."""
        return await subject_report(self.context, subject_id)

    async def export_audit(self, *, broker: bool = False) -> AsyncGenerator[tuple[str, bytes], None]:
        """The audit log's files in chunks, or those of the broker's log: see `agency_node.audit_manifest`.

        Raises:
            RefusedError: UNAVAILABLE where the broker has not been reached yet.
        """
        ctx = self.context
        if not broker:
            files = export_files(ctx.store, ctx.log, ctx.identity, ctx.now())
        elif self._broker_log is None:
            raise RefusedError(ErrorCode.UNAVAILABLE, "the broker has not been reached yet; try again")
        else:
            heads = await self._broker_witness.heads(self._broker_log)
            files = export_broker_files(ctx.store, self._broker_log, heads, ctx.identity, ctx.now())
        async with aclosing(files) as chunks:
            async for chunk in chunks:
                yield chunk

    async def waiting(self) -> Waiting:
        """What waits for somebody."""
        async with self.context.store.transaction() as tx:
            sent = await tx.requests.in_state(Direction.MADE, RequestState.SENT)
            held = await tx.requests.in_state(Direction.RECEIVED, RequestState.WAITING)
            return Waiting(len(sent), len(held), await tx.audit.size())

    async def keep_house(self) -> None:
        """What time alone makes due: retention, expiry, and a signed head for the witnesses."""
        await self._retention.tick()
        await self._pushing.tick()
        now = self.context.clock()
        interval = timedelta(minutes=self.context.settings.checkpoint_minutes)
        if self._signed is None or now - self._signed >= interval:
            await self._witnessing.ask()
            self._signed = now

    def close(self) -> None:
        """Closes the agency's source."""
        self.context.reader.close()

    async def watch_broker(self, log: BrokerLog) -> None:
        """See `BrokerWitness.look`."""
        self._broker_log = log
        await self._broker_witness.look(log)

    async def ask_witnesses(self) -> int:
        """Signs the log's head and shows it to the other agencies; how many were asked."""
        return await self._witnessing.ask()

    # -- helpers

    async def _made(self, tx: NodeTransaction, stored: StoredRequest) -> RequestDetail:
        summary, vault = self._summary(stored), self.context.vault
        if stored.outcome is None:
            return RequestDetail(summary, ())
        answer = vault.open_outcome(stored.request_id, stored.outcome)
        refusal = f"{answer.refusal.code.value}: {answer.refusal.message}" if answer.refusal else ""
        held = await self._requester.release_of(tx, stored.request_id)
        release = b"" if held is None else write(held)
        return RequestDetail(summary, _outcomes(answer.outcomes), release, refusal)

    def _received(self, stored: StoredRequest) -> RequestDetail:
        summary, vault = self._summary(stored), self.context.vault
        if stored.outcome is None:
            return RequestDetail(summary, ())
        envelope = vault.open_decision(stored.request_id, stored.outcome)
        decision = open_document(DisclosureDecision, envelope)
        refusal = f"{decision.refusal.value}: {decision.reasons}" if decision.refusal else ""
        return RequestDetail(summary, _outcomes(decision.outcomes), b"", refusal, envelope.to_bytes())

    def _pushed(self, release: StoredRelease, wrapped: bytes) -> RequestDetail:
        """What was released without a request, under the release's hash."""
        envelope = self.context.vault.open_decision(release.release_hash, wrapped)
        decision = open_document(DisclosureDecision, envelope)
        summary = RequestSummary(
            request_id=release.release_hash,
            direction="pushed",
            peer=str(release.peer),
            state=release.state.value,
            tier=PUSHED_TIER,
            purpose=decision.annex_b.purpose.value,
            case_reference=str(decision.annex_b.case_reference),
            created=release.released,
            expires=release.purge_after,
            approvals=0,
            approvals_needed=0,
        )
        return RequestDetail(summary, _outcomes(decision.outcomes), b"", "", envelope.to_bytes())

    def _summary(self, stored: StoredRequest) -> RequestSummary:
        case_reference = ""
        if stored.wrapped is not None:
            contents = self.context.vault.open_request(stored.direction, stored.request_id, stored.wrapped)
            case_reference = str(open_document(DisclosureRequest, contents.envelope).case_reference)
        return RequestSummary(
            request_id=str(stored.request_id),
            direction=stored.direction.value,
            peer=str(stored.peer),
            state=stored.state.value,
            tier=stored.tier,
            purpose=stored.purpose.value,
            case_reference=case_reference,
            created=stored.created,
            expires=stored.expires,
            approvals=stored.approvals,
            approvals_needed=stored.approvals_needed,
        )


def build_disclosure(parts: NodeParts, settings: DisclosureSettings | None = None) -> Disclosure:
    """The disclosure service over a node's parts; registers its handlers with the mailbox."""
    if not isinstance(parts.audit, AuditLog):
        raise TypeError("disclosure needs the node's own audit log")

    def opened() -> SubjectSource:
        mapping = load_mapping(parts.config.mapping)
        return open_source(mapping, today=parts.clock().date(), work_folder=parts.config.spool_dir)

    return Disclosure(
        DisclosureContext(
            identity=parts.keys,
            store=parts.store,
            registry_at=parts.trust.registry,
            book=parts.book,
            mailbox=parts.mailbox,
            ring=parts.ring,
            links=parts.links,
            log=parts.audit,
            vault=Vault(parts.keys.wrapper),
            reader=SourceReader(opened, parts.config.mapping, parts.clock),
            clock=parts.clock,
            settings=settings or DisclosureSettings(),
        )
    )


def _outcomes(decided: Sequence[DecidedField]) -> tuple[FieldOutcome, ...]:
    """Field outcomes for the control service, whose words are verbs."""
    words = {"released": "release", "withheld": "withhold", "denied": "deny"}
    return tuple(
        FieldOutcome(
            str(item.record_type),
            str(item.field),
            words.get(item.outcome.value, item.outcome.value),
            item.clauses,
            str(item.reason),
        )
        for item in decided
    )
