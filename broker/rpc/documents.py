"""Signed documents."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.documents import DocumentService
from protos.documents.v1 import documents_pb2 as pb
from protos.documents.v1 import documents_pb2_grpc as grpc_pb
from protos.wire.documents import bundle_from_wire, bundle_to_wire, kind_from_wire
from protos.wire.peers import calling_agency
from protos.wire.server import Context


class DocumentServicer(grpc_pb.DocumentServiceServicer):
    """`DocumentService`."""

    def __init__(self, documents: DocumentService) -> None:
        self._documents = documents

    async def PublishDocument(
        self, request: pb.PublishDocumentRequest, context: Context
    ) -> pb.PublishDocumentResponse:
        """See documents.proto."""
        bundle = bundle_from_wire(request.document)
        return pb.PublishDocumentResponse(
            document_hash=await self._documents.publish(calling_agency(), bundle)
        )

    async def PublishEvent(
        self, request: pb.PublishEventRequest, context: Context
    ) -> pb.PublishEventResponse:
        """See documents.proto."""
        await self._documents.publish_event(calling_agency(), request.document_hash, request.event_envelope)
        return pb.PublishEventResponse()

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> AsyncIterator[pb.ListDocumentsResponse]:
        """See documents.proto."""
        for bundle in await self._documents.listed(calling_agency(), kind_from_wire(request.kind)):
            yield pb.ListDocumentsResponse(document=bundle_to_wire(bundle))

    async def PublishStatus(
        self, request: pb.PublishStatusRequest, context: Context
    ) -> pb.PublishStatusResponse:
        """See documents.proto."""
        await self._documents.publish_status(calling_agency(), request.status_envelope)
        return pb.PublishStatusResponse()

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """See documents.proto."""
        found = await self._documents.statuses(calling_agency(), request.policy_hash)
        return pb.GetStatusResponse(status_envelopes=found)
