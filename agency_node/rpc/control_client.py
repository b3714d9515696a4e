"""Calls to a running node's control socket, for its command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc

from agency_node.rpc.ports import (
    ConflictSummary,
    EmergencySummary,
    FieldOutcome,
    OrderDraft,
    PictureItem,
    PreparedApproval,
    PreparedDocument,
    Provenance,
    RequestDetail,
    RequestDraft,
    RequestSummary,
    SubjectEntry,
    SupervisionSummary,
)
from crypto.audit import AuditAction
from crypto.canonical import parse_canonical
from protos.node.v1 import control_pb2 as pb
from protos.node.v1 import control_pb2_grpc
from protos.wire.channels import local_channel
from protos.wire.errors import UnavailableError, refused_from_rpc

_Response = TypeVar("_Response")


class ControlClient:
    """The control service, with `RefusedError` for every failure."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        #: The generated stub, for calls that need nothing else.
        self.stub = control_pb2_grpc.ControlServiceStub(channel)

    async def call(self, answer: Awaitable[_Response]) -> _Response:
        """Awaits a call's only answer."""
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            raise refused_from_rpc(error) from None

    async def stream(self, answers: AsyncIterable[_Response]) -> AsyncGenerator[_Response, None]:
        """A call's answers as they come."""
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise refused_from_rpc(error) from None

    async def status(self) -> pb.GetNodeStatusResponse:
        """Where everything is."""
        return await self.call(self.stub.GetNodeStatus(pb.GetNodeStatusRequest()))

    def sync(self, linkage_id: str, *, full: bool) -> AsyncGenerator[pb.SyncLinkageResponse, None]:
        """Uploads, with progress."""
        return self.stream(self.stub.SyncLinkage(pb.SyncLinkageRequest(linkage_id=linkage_id, full=full)))

    def match(self, linkage_id: str) -> AsyncGenerator[pb.RunLinkageResponse, None]:
        """Has the broker match, with progress."""
        return self.stream(self.stub.RunLinkage(pb.RunLinkageRequest(linkage_id=linkage_id)))

    def links(self, linkage_id: str, subject_id: str) -> AsyncGenerator[pb.ListLinksResponse, None]:
        """The links that the agency was told of."""
        request = pb.ListLinksRequest(linkage_id=linkage_id, subject_id=subject_id)
        return self.stream(self.stub.ListLinks(request))

    def documents(self) -> AsyncGenerator[pb.ListDocumentsResponse, None]:
        """Every document held."""
        return self.stream(self.stub.ListDocuments(pb.ListDocumentsRequest()))

    async def rotate(self, linkage_id: str, reason: str) -> int:
        """Begins a new epoch."""
        request = pb.RotateKeyRequest(linkage_id=linkage_id, reason=reason)
        return (await self.call(self.stub.RotateKey(request))).epoch

    async def publish(self, document: bytes, statements: tuple[bytes, ...]) -> str:
        """Publishes a signed document; returns its hash."""
        bundle = pb.DocumentBundle(document_envelope=document, statement_envelopes=statements)
        return (
            await self.call(self.stub.PublishDocument(pb.PublishDocumentRequest(bundle=bundle)))
        ).document_hash

    async def publish_event(self, document_hash: str, event: bytes) -> None:
        """Publishes a lifecycle event of a policy."""
        request = pb.PublishEventRequest(document_hash=document_hash, event_envelope=event)
        await self.call(self.stub.PublishEvent(request))

    # disclosure and audit, in domain values

    async def prepare_request(self, draft: RequestDraft) -> PreparedDocument:
        """A disclosure request for its officer to sign."""
        answer = await self.call(
            self.stub.PrepareRequest(
                pb.PrepareRequestRequest(
                    link_token=draft.link_token,
                    purpose=draft.purpose,
                    tier=draft.tier,
                    necessity=draft.necessity,
                    case_reference=draft.case_reference,
                    urgency=draft.urgency,
                    record_types=draft.record_types,
                    fields=draft.fields,
                    officer=draft.officer,
                    role=draft.role,
                    break_glass=_claim(draft),
                )
            )
        )
        return PreparedDocument(answer.payload, answer.payload_type)

    async def submit_request(self, envelope: bytes) -> str:
        """Sends a request that its officer has signed; returns its id."""
        request = pb.SubmitRequestRequest(envelope=envelope)
        return (await self.call(self.stub.SubmitRequest(request))).request_id

    async def requests(self, direction: str = "") -> AsyncGenerator[RequestSummary, None]:
        """Requests that were "made" or "received", or both."""
        async for answer in self.stream(self.stub.ListRequests(pb.ListRequestsRequest(direction=direction))):
            yield _summary(answer.request)

    async def request_summary(self, request_id: str) -> RequestSummary:
        """One request as it stands in the list."""
        answer = await self.call(self.stub.GetRequest(pb.GetRequestRequest(request_id=request_id)))
        return _summary(answer.request)

    async def request(self, request_id: str, order: bytes) -> RequestDetail:
        """One request with its outcome, to whoever signed the order to see it."""
        asked = pb.GetRequestRequest(request_id=request_id, order=order)
        answer = await self.call(self.stub.GetRequest(asked))
        outcomes = tuple(
            FieldOutcome(item.record_type, item.field, item.outcome, tuple(item.clauses), item.reason)
            for item in answer.outcomes
        )
        return RequestDetail(
            _summary(answer.request), outcomes, answer.release, answer.refusal, answer.decision
        )

    async def prepare_approval(
        self, request_id: str, decision: str, reason: str, officer: str, role: str
    ) -> PreparedApproval:
        """An approval or rejection for its officer to sign, with the request to show them."""
        request = pb.PrepareApprovalRequest(
            request_id=request_id, decision=decision, reason=reason, officer=officer, role=role
        )
        answer = await self.call(self.stub.PrepareApproval(request))
        return PreparedApproval(answer.payload, answer.payload_type, answer.request)

    async def submit_approval(self, envelope: bytes) -> str:
        """Hands in a signed approval; returns the request's state."""
        return (await self.call(self.stub.SubmitApproval(pb.SubmitApprovalRequest(envelope=envelope)))).state

    async def picture(self, order: bytes) -> AsyncGenerator[PictureItem, None]:
        """All that is held here, and was released to here, about the order's subject, oldest first."""
        async for item in self.stream(self.stub.GetPicture(pb.GetPictureRequest(order=order))):
            yield PictureItem(
                item.agency_id,
                item.record_type,
                item.occurred,
                dict(item.fields),
                tuple(item.withheld),
                item.request_id,
                Provenance(
                    item.provenance.record_id, item.provenance.release_hash, item.provenance.policy_hash
                )
                if item.HasField("provenance")
                else None,
                item.handling_marking,
                item.victim_contact_warning,
            )

    async def emergencies(self) -> AsyncGenerator[EmergencySummary, None]:
        """Uses of break-glass that wait for their review, the most urgent first."""
        async for item in self.stream(self.stub.ListEmergencies(pb.ListEmergenciesRequest())):
            yield EmergencySummary(
                item.request_id,
                item.direction,
                item.officer,
                item.peer,
                item.reason_code,
                item.explanation,
                item.case_reference,
                datetime.fromtimestamp(item.used_unix, UTC),
                datetime.fromtimestamp(item.review_due_unix, UTC),
                item.overdue,
            )

    async def prepare_order(self, draft: OrderDraft) -> PreparedDocument:
        """An officer's order, to sign."""
        answer = await self.call(
            self.stub.PrepareOrder(
                pb.PrepareOrderRequest(
                    act=draft.act,
                    target=draft.target,
                    about=draft.about,
                    reason=draft.reason,
                    officer=draft.officer,
                    role=draft.role,
                )
            )
        )
        return PreparedDocument(answer.payload, answer.payload_type)

    async def submit_order(self, envelope: bytes) -> str:
        """Hands in a signed order; returns what was done, as a sentence."""
        return (await self.call(self.stub.SubmitOrder(pb.SubmitOrderRequest(envelope=envelope)))).outcome

    async def supervision(self) -> AsyncGenerator[SupervisionSummary, None]:
        """What waits for a supervisor, oldest first."""
        async for item in self.stream(self.stub.ListSupervision(pb.ListSupervisionRequest())):
            yield SupervisionSummary(
                item.item_id,
                item.kind,
                item.request_id,
                item.officer,
                item.peer,
                item.policy_hash,
                datetime.fromtimestamp(item.raised_unix, UTC),
            )

    async def conflicts(self) -> AsyncGenerator[ConflictSummary, None]:
        """Who may not ask about whom."""
        async for item in self.stream(self.stub.ListConflicts(pb.ListConflictsRequest())):
            yield ConflictSummary(
                item.officer, item.subject_id, item.reason, datetime.fromtimestamp(item.declared_unix, UTC)
            )

    async def about_subject(self, order: bytes) -> AsyncGenerator[SubjectEntry, None]:
        """Who saw what about the order's subject, oldest first."""
        request = pb.ReportSubjectRequest(order=order)
        async for item in self.stream(self.stub.ReportSubject(request)):
            particulars = parse_canonical(item.particulars)
            if not isinstance(particulars, dict):
                raise UnavailableError("the node sent an entry that is no object; is its version the same?")
            yield SubjectEntry(
                item.entry,
                datetime.fromtimestamp(item.time_unix, UTC),
                AuditAction(item.action),
                item.actor,
                item.policy_hash,
                particulars,
                tuple(item.exemptions),
            )

    async def export_audit(self, order: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
        """The files of the log that the order names, in chunks: (file name, bytes)."""
        async for answer in self.stream(self.stub.ExportAudit(pb.ExportAuditRequest(order=order))):
            yield answer.file_name, answer.chunk


def _claim(draft: RequestDraft) -> pb.BreakGlassClaim | None:
    claim = draft.break_glass
    if claim is None:
        return None
    return pb.BreakGlassClaim(reason_code=claim.reason_code, explanation=claim.explanation)


def _summary(wire: pb.RequestSummary) -> RequestSummary:
    return RequestSummary(
        request_id=wire.request_id,
        direction=wire.direction,
        peer=wire.peer,
        state=wire.state,
        tier=wire.tier,
        purpose=wire.purpose,
        case_reference=wire.case_reference,
        created=datetime.fromtimestamp(wire.created_unix, UTC),
        expires=datetime.fromtimestamp(wire.expires_unix, UTC),
        approvals=wire.approvals,
        approvals_needed=wire.approvals_needed,
    )


@asynccontextmanager
async def control_client(socket: Path) -> AsyncIterator[ControlClient]:
    """A client of the node whose control socket this is.

    Raises:
        UnavailableError: no node listens there.
    """
    if not await asyncio.to_thread(socket.exists):
        raise UnavailableError(
            f"no node is running here ({socket} is not there); start `tallystick node run`"
        )
    channel = local_channel(socket)
    try:
        yield ControlClient(channel)
    finally:
        await channel.close(None)
