"""The control service: the node's administration, on its own machine's unix socket.

Every method checks its arguments, calls one service and converts the answer. The gatekeeper in front of it
(`protos.wire.server`) translates errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

from agency_node.documents import HeldDocument
from agency_node.errors import NodeError
from agency_node.links import SubjectLink
from agency_node.rpc.ports import (
    DisclosureService,
    EmergencyClaim,
    FieldOutcome,
    NodeStatus,
    OrderDraft,
    RequestDraft,
    RequestSummary,
)
from agency_node.subjects import SubjectId
from agency_node.sync import Progress, Report
from crypto.canonical import canonical_json
from crypto.envelope import Envelope
from crypto.tokens import LinkToken
from policies.agreement import LinkageAgreement
from policies.codec import payload_type
from policies.ids import LinkageId
from policies.sharing import SharingPolicy
from protos.node.v1 import control_pb2 as pb
from protos.node.v1 import control_pb2_grpc
from protos.wire.documents import DocumentBundle, DocumentKind
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.linkage import RotationReason
from protos.wire.server import Context

_ROTATIONS = {
    "membership": RotationReason.MEMBERSHIP,
    "age": RotationReason.AGE,
    "suspicion": RotationReason.SUSPICION,
}


class NodeServices(Protocol):
    """What the control service needs of the node; `agency_node.app.Node` is one."""

    @property
    def disclosure(self) -> DisclosureService: ...

    async def status(self) -> NodeStatus: ...

    async def sync_linkage(self, linkage_id: LinkageId, report: Report, *, full: bool) -> None: ...

    async def run_linkage(self, linkage_id: LinkageId, report: Report) -> None: ...

    async def rotate_key(self, linkage_id: LinkageId, reason: RotationReason) -> int: ...

    async def list_links(
        self, linkage_id: LinkageId | None, subject_id: SubjectId | None
    ) -> tuple[SubjectLink, ...]: ...

    async def publish_document(self, bundle: DocumentBundle) -> str: ...

    async def publish_event(self, document_hash: str, event: bytes) -> None: ...

    async def list_documents(self) -> tuple[HeldDocument, ...]: ...


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Serves `protos.node.v1.ControlService`."""

    def __init__(self, node: NodeServices) -> None:
        self._node = node

    async def GetNodeStatus(
        self, request: pb.GetNodeStatusRequest, context: Context
    ) -> pb.GetNodeStatusResponse:
        return _status(await self._node.status())

    async def SyncLinkage(
        self, request: pb.SyncLinkageRequest, context: Context
    ) -> AsyncIterator[pb.SyncLinkageResponse]:
        linkage_id = LinkageId(request.linkage_id)

        async def work(report: Report) -> None:
            await self._node.sync_linkage(linkage_id, report, full=request.full)

        async with aclosing(_reported(work)) as reports:
            async for progress in reports:
                yield pb.SyncLinkageResponse(progress=_progress(progress))

    async def RunLinkage(
        self, request: pb.RunLinkageRequest, context: Context
    ) -> AsyncIterator[pb.RunLinkageResponse]:
        linkage_id = LinkageId(request.linkage_id)

        async def work(report: Report) -> None:
            await self._node.run_linkage(linkage_id, report)

        async with aclosing(_reported(work)) as reports:
            async for progress in reports:
                yield pb.RunLinkageResponse(progress=_progress(progress))

    async def RotateKey(self, request: pb.RotateKeyRequest, context: Context) -> pb.RotateKeyResponse:
        reason = _ROTATIONS.get(request.reason)
        if reason is None:
            known = ", ".join(_ROTATIONS)
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, f"reason: one of {known}")
        epoch = await self._node.rotate_key(LinkageId(request.linkage_id), reason)
        return pb.RotateKeyResponse(epoch=epoch)

    async def ListLinks(
        self, request: pb.ListLinksRequest, context: Context
    ) -> AsyncIterator[pb.ListLinksResponse]:
        linkage_id = LinkageId(request.linkage_id) if request.linkage_id else None
        subject_id = SubjectId(request.subject_id) if request.subject_id else None
        for item in await self._node.list_links(linkage_id, subject_id):
            yield pb.ListLinksResponse(
                token=LinkToken(item.link.token).text,
                linkage_id=item.link.linkage_id,
                subject_id=item.subject_id,
                counterpart=item.link.counterpart or "",
                strength=item.link.strength.value,
                policy_hash=item.link.policy_hash,
                expires_unix=int(item.link.expires.timestamp()),
            )

    async def PublishDocument(
        self, request: pb.PublishDocumentRequest, context: Context
    ) -> pb.PublishDocumentResponse:
        document_hash = await self._node.publish_document(_bundle(request.bundle))
        return pb.PublishDocumentResponse(document_hash=document_hash)

    async def PublishEvent(
        self, request: pb.PublishEventRequest, context: Context
    ) -> pb.PublishEventResponse:
        await self._node.publish_event(request.document_hash, request.event_envelope)
        return pb.PublishEventResponse()

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> AsyncIterator[pb.ListDocumentsResponse]:
        for item in await self._node.list_documents():
            yield pb.ListDocumentsResponse(
                document_hash=item.document_hash,
                kind=item.kind.value,
                title=item.title,
                state=item.state,
                sequence=item.sequence,
                bundle=pb.DocumentBundle(
                    document_envelope=item.bundle.document,
                    statement_envelopes=item.bundle.statements,
                    event_envelopes=item.bundle.events,
                ),
            )

    # -- disclosure

    async def PrepareRequest(
        self, request: pb.PrepareRequestRequest, context: Context
    ) -> pb.PrepareRequestResponse:
        prepared = await self._node.disclosure.prepare_request(
            RequestDraft(
                link_token=request.link_token,
                purpose=request.purpose,
                tier=request.tier,
                necessity=request.necessity,
                case_reference=request.case_reference,
                urgency=request.urgency,
                record_types=tuple(request.record_types),
                fields=tuple(request.fields),
                officer=request.officer,
                role=request.role,
                break_glass=_claim(request),
            )
        )
        return pb.PrepareRequestResponse(payload=prepared.payload, payload_type=prepared.payload_type)

    async def SubmitRequest(
        self, request: pb.SubmitRequestRequest, context: Context
    ) -> pb.SubmitRequestResponse:
        request_id = await self._node.disclosure.submit_request(request.envelope)
        return pb.SubmitRequestResponse(request_id=request_id)

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: Context
    ) -> AsyncIterator[pb.ListRequestsResponse]:
        if request.direction not in ("", "made", "received"):
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, 'direction: "made", "received", or empty')
        for summary in await self._node.disclosure.list_requests(request.direction):
            yield pb.ListRequestsResponse(request=_summary(summary))

    async def GetRequest(self, request: pb.GetRequestRequest, context: Context) -> pb.GetRequestResponse:
        disclosure = self._node.disclosure
        if not request.order:
            summary = await disclosure.request_summary(request.request_id)
            return pb.GetRequestResponse(request=_summary(summary))
        detail = await disclosure.see_request(request.request_id, request.order)
        return pb.GetRequestResponse(
            request=_summary(detail.summary),
            outcomes=[_outcome(outcome) for outcome in detail.outcomes],
            release=detail.release,
            refusal=detail.refusal,
            decision=detail.decision,
        )

    async def PrepareApproval(
        self, request: pb.PrepareApprovalRequest, context: Context
    ) -> pb.PrepareApprovalResponse:
        if request.decision not in ("approve", "reject"):
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, 'decision: "approve" or "reject"')
        prepared = await self._node.disclosure.prepare_approval(
            request.request_id, request.decision, request.reason, request.officer, request.role
        )
        return pb.PrepareApprovalResponse(
            payload=prepared.payload, payload_type=prepared.payload_type, request=prepared.request
        )

    async def SubmitApproval(
        self, request: pb.SubmitApprovalRequest, context: Context
    ) -> pb.SubmitApprovalResponse:
        state = await self._node.disclosure.submit_approval(request.envelope)
        return pb.SubmitApprovalResponse(state=state)

    async def GetPicture(
        self, request: pb.GetPictureRequest, context: Context
    ) -> AsyncIterator[pb.GetPictureResponse]:
        for item in await self._node.disclosure.see_picture(request.order):
            yield pb.GetPictureResponse(
                agency_id=item.agency_id,
                record_type=item.record_type,
                occurred=item.occurred,
                fields=dict(item.fields),
                withheld=item.withheld,
                request_id=item.request_id,
                provenance=None
                if item.provenance is None
                else pb.Provenance(
                    record_id=item.provenance.record_id,
                    release_hash=item.provenance.release_hash,
                    policy_hash=item.provenance.policy_hash,
                ),
                handling_marking=item.handling_marking,
                victim_contact_warning=item.victim_contact_warning,
            )

    async def ListEmergencies(
        self, request: pb.ListEmergenciesRequest, context: Context
    ) -> AsyncIterator[pb.ListEmergenciesResponse]:
        for item in await self._node.disclosure.list_emergencies():
            yield pb.ListEmergenciesResponse(
                request_id=item.request_id,
                direction=item.direction,
                officer=item.officer,
                peer=item.peer,
                reason_code=item.reason_code,
                explanation=item.explanation,
                case_reference=item.case_reference,
                used_unix=int(item.used.timestamp()),
                review_due_unix=int(item.review_due.timestamp()),
                overdue=item.overdue,
            )

    async def PrepareOrder(
        self, request: pb.PrepareOrderRequest, context: Context
    ) -> pb.PrepareOrderResponse:
        prepared = await self._node.disclosure.prepare_order(
            OrderDraft(
                request.act, request.target, request.about, request.reason, request.officer, request.role
            )
        )
        return pb.PrepareOrderResponse(payload=prepared.payload, payload_type=prepared.payload_type)

    async def SubmitOrder(self, request: pb.SubmitOrderRequest, context: Context) -> pb.SubmitOrderResponse:
        return pb.SubmitOrderResponse(outcome=await self._node.disclosure.submit_order(request.envelope))

    async def ListSupervision(
        self, request: pb.ListSupervisionRequest, context: Context
    ) -> AsyncIterator[pb.ListSupervisionResponse]:
        for item in await self._node.disclosure.list_supervision():
            yield pb.ListSupervisionResponse(
                item_id=item.item_id,
                kind=item.kind,
                request_id=item.request_id,
                officer=item.officer,
                peer=item.peer,
                policy_hash=item.policy_hash,
                raised_unix=int(item.raised.timestamp()),
            )

    async def ListConflicts(
        self, request: pb.ListConflictsRequest, context: Context
    ) -> AsyncIterator[pb.ListConflictsResponse]:
        for item in await self._node.disclosure.list_conflicts():
            yield pb.ListConflictsResponse(
                officer=item.officer,
                subject_id=item.subject_id,
                reason=item.reason,
                declared_unix=int(item.declared.timestamp()),
            )

    async def ReportSubject(
        self, request: pb.ReportSubjectRequest, context: Context
    ) -> AsyncIterator[pb.ReportSubjectResponse]:
        for item in await self._node.disclosure.see_report(request.order):
            yield pb.ReportSubjectResponse(
                entry=item.seq,
                time_unix=int(item.time.timestamp()),
                action=item.action.value,
                actor=item.actor,
                policy_hash=item.policy_hash,
                particulars=canonical_json(item.particulars),
                exemptions=item.exemptions,
            )

    async def ExportAudit(
        self, request: pb.ExportAuditRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditResponse]:
        async with aclosing(self._node.disclosure.see_audit(request.order)) as chunks:
            async for file_name, chunk in chunks:
                yield pb.ExportAuditResponse(file_name=file_name, chunk=chunk)


async def _reported(work: Callable[[Report], Awaitable[None]]) -> AsyncGenerator[Progress, None]:
    """Runs `work` and yields what it reports, ending with it; whoever stops listening cancels it.

    A slow listener does not slow the work: reports that it missed are skipped, the last one never.
    """
    latest: list[Progress] = []
    news = asyncio.Event()

    async def report(progress: Progress) -> None:
        if latest and latest[-1].stage == progress.stage:
            latest.pop()
        latest.append(progress)
        news.set()

    task = asyncio.ensure_future(work(report))
    task.add_done_callback(lambda _task: news.set())
    try:
        while not task.done() or latest:
            await news.wait()
            news.clear()
            while latest:
                yield latest.pop(0)
            if task.done() and not latest:
                break
        await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _claim(request: pb.PrepareRequestRequest) -> EmergencyClaim | None:
    if not request.HasField("break_glass"):
        return None
    return EmergencyClaim(request.break_glass.reason_code, request.break_glass.explanation)


def _bundle(message: pb.DocumentBundle) -> DocumentBundle:
    parts = (message.document_envelope, *message.statement_envelopes, *message.event_envelopes)
    if len(parts) > LIMITS.statements_per_document or any(len(p) > LIMITS.document_bytes for p in parts):
        raise RefusedError(ErrorCode.TOO_LARGE, "the bundle has too many or too large parts")
    kinds = {
        payload_type(LinkageAgreement): DocumentKind.LINKAGE_AGREEMENT,
        payload_type(SharingPolicy): DocumentKind.SHARING_POLICY,
    }
    kind = kinds.get(Envelope.from_bytes(message.document_envelope).payload_type)
    if kind is None:
        raise NodeError("the document is neither a linkage agreement nor a sharing policy")
    return DocumentBundle(
        kind,
        message.document_envelope,
        tuple(message.statement_envelopes),
        tuple(message.event_envelopes),
    )


def _status(status: NodeStatus) -> pb.GetNodeStatusResponse:
    expires = status.registry_expires
    return pb.GetNodeStatusResponse(
        agency_id=status.agency_id,
        broker_connected=status.broker_connected,
        registry_version=status.registry_version,
        registry_expires_unix=int(expires.timestamp()) if expires else 0,
        linkages=[
            pb.LinkageStatus(
                linkage_id=item.linkage_id,
                epoch=item.epoch,
                epoch_state=item.epoch_state,
                subjects=item.subjects,
                links=item.links,
                waiting_for=item.waiting_for,
            )
            for item in status.linkages
        ],
        requests_waiting=status.waiting.requests,
        approvals_waiting=status.waiting.approvals,
        audit_size=status.waiting.audit_size,
    )


def _progress(progress: Progress) -> pb.Progress:
    lost = (
        [found.render() for found in progress.problems.listed if found.drops_row] if progress.problems else ()
    )
    return pb.Progress(
        stage=progress.stage,
        done=progress.done,
        total=progress.total,
        counts=dict(progress.counts),
        rows_lost=lost,
    )


def _summary(summary: RequestSummary) -> pb.RequestSummary:
    return pb.RequestSummary(
        request_id=summary.request_id,
        direction=summary.direction,
        peer=summary.peer,
        state=summary.state,
        tier=summary.tier,
        purpose=summary.purpose,
        case_reference=summary.case_reference,
        created_unix=int(summary.created.timestamp()),
        expires_unix=int(summary.expires.timestamp()),
        approvals=summary.approvals,
        approvals_needed=summary.approvals_needed,
    )


def _outcome(outcome: FieldOutcome) -> pb.FieldOutcome:
    return pb.FieldOutcome(
        record_type=outcome.record_type,
        field=outcome.field,
        outcome=outcome.outcome,
        clauses=outcome.clauses,
        reason=outcome.reason,
    )
