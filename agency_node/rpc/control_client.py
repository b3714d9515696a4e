"""Calls to a running node's control socket, for its command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import grpc

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
