"""A client of the broker as a test sees it: real stubs over real TLS, refusals as the exceptions they are."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import grpc

from protos.audit.v1 import audit_pb2_grpc
from protos.documents.v1 import documents_pb2, documents_pb2_grpc
from protos.linkage.v1 import linkage_pb2, linkage_pb2_grpc
from protos.registry.v1 import registry_pb2, registry_pb2_grpc
from protos.relay.v1 import relay_pb2, relay_pb2_grpc
from protos.wire.channels import TlsIdentity, broker_channel
from protos.wire.documents import DocumentBundle, bundle_to_wire
from protos.wire.errors import ErrorCode, RefusedError, refused_from_rpc
from protos.wire.linkage import (
    EncodingBatch,
    Epoch,
    Link,
    LinkEvent,
    RunProgress,
    UploadMode,
    UploadStart,
    batch_to_wire,
    epoch_from_wire,
    link_event_from_wire,
    link_from_wire,
    progress_from_wire,
    upload_to_wire,
)
from protos.wire.relay import (
    IncomingMessage,
    OutgoingMessage,
    ToAgency,
    ToLink,
    incoming_from_wire,
    outgoing_to_wire,
)

Answer = TypeVar("Answer")


async def asked(call: Awaitable[Answer]) -> Answer:
    """The answer, or the refusal as it was raised in the broker."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise refused_from_rpc(error) from None


async def refusal(call: Awaitable[object]) -> ErrorCode:
    """The code with which a call is refused."""
    try:
        await asked(call)
    except RefusedError as error:
        return error.code
    raise AssertionError("the call was not refused")


@dataclass
class Client:
    """One agency's connection."""

    agency: str
    channel: grpc.aio.Channel = field(repr=False)

    def __post_init__(self) -> None:
        self.registry = registry_pb2_grpc.RegistryServiceStub(self.channel)
        self.documents = documents_pb2_grpc.DocumentServiceStub(self.channel)
        self.linkage = linkage_pb2_grpc.LinkageServiceStub(self.channel)
        self.relay = relay_pb2_grpc.RelayServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)

    async def publish_trust(self, roots: Sequence[bytes], registry: bytes) -> None:
        request = registry_pb2.PublishTrustRequest(root_envelopes=roots, registry_envelope=registry)
        await asked(self.registry.PublishTrust(request))

    async def publish(self, bundle: DocumentBundle) -> str:
        request = documents_pb2.PublishDocumentRequest(document=bundle_to_wire(bundle))
        return (await asked(self.documents.PublishDocument(request))).document_hash

    async def publish_event(self, document_hash: str, event: bytes) -> None:
        request = documents_pb2.PublishEventRequest(document_hash=document_hash, event_envelope=event)
        await asked(self.documents.PublishEvent(request))

    async def epoch(self, linkage: str) -> Epoch:
        request = linkage_pb2.GetEpochRequest(linkage_id=linkage)
        return epoch_from_wire(await asked(self.linkage.GetEpoch(request)))

    async def confirm(
        self, linkage: str, epoch: int, confirmation: bytes = b"k" * 32, transcript: bytes = b"t" * 32
    ) -> int:
        request = linkage_pb2.ConfirmKeyRequest(
            linkage_id=linkage, epoch=epoch, transcript_hash=transcript, confirmation=confirmation
        )
        return (await asked(self.linkage.ConfirmKey(request))).state

    async def begin(self, start: UploadStart) -> linkage_pb2.BeginUploadResponse:
        return await asked(self.linkage.BeginUpload(upload_to_wire(start)))

    async def send_batches(self, upload_id: str, batches: Iterable[tuple[int, EncodingBatch]]) -> list[int]:
        requests = [
            linkage_pb2.UploadBatchesRequest(
                upload_id=upload_id, sequence=sequence, batch=batch_to_wire(batch)
            )
            for sequence, batch in batches
        ]

        async def collect() -> list[int]:
            return [item.sequence async for item in self.linkage.UploadBatches(iter(requests))]

        return await asked(collect())

    async def commit(self, upload_id: str, batches: int, rows: int) -> int:
        request = linkage_pb2.CommitUploadRequest(upload_id=upload_id, batch_count=batches, row_count=rows)
        return (await asked(self.linkage.CommitUpload(request))).rows_held

    async def upload(
        self, epoch: Epoch, linkage: str, *batches: EncodingBatch, mode: UploadMode = UploadMode.FULL
    ) -> int:
        """A whole upload."""
        rows = sum(batch.rows for batch in batches)
        start = UploadStart(linkage, epoch.epoch, epoch.schema_hash, secrets.token_hex(16), mode, rows)
        await self.begin(start)
        await self.send_batches(start.upload_id, enumerate(batches))
        return await self.commit(start.upload_id, len(batches), rows)

    async def start_run(self, linkage: str, epoch: int) -> str:
        request = linkage_pb2.StartRunRequest(linkage_id=linkage, epoch=epoch)
        return (await asked(self.linkage.StartRun(request))).run_id

    async def watch_run(self, run_id: str) -> list[RunProgress]:
        async def collect() -> list[RunProgress]:
            stream = self.linkage.WatchRun(linkage_pb2.WatchRunRequest(run_id=run_id))
            return [progress_from_wire(item) async for item in stream]

        return await asked(collect())

    async def run(self, linkage: str, epoch: int) -> RunProgress:
        """Matches, and returns how it ended."""
        return (await self.watch_run(await self.start_run(linkage, epoch)))[-1]

    async def link_events(self, linkage: str, after: int = 0) -> list[LinkEvent]:
        async def collect() -> list[LinkEvent]:
            request = linkage_pb2.WatchLinksRequest(linkage_id=linkage, after_cursor=after)
            return [link_event_from_wire(item) async for item in self.linkage.WatchLinks(request)]

        return await asked(collect())

    async def look_up(self, epoch: Epoch, linkage: str, rows: EncodingBatch) -> list[Link]:
        request = linkage_pb2.LookUpRequest(
            linkage_id=linkage, epoch=epoch.epoch, schema_hash=epoch.schema_hash, rows=batch_to_wire(rows)
        )
        return [link_from_wire(item) for item in (await asked(self.linkage.LookUp(request))).links]

    async def send(self, message: OutgoingMessage) -> bool:
        return (await asked(self.relay.Send(outgoing_to_wire(message)))).duplicate

    async def receive(self, count: int) -> list[IncomingMessage]:
        """The first so many messages."""
        call = self.relay.Receive(relay_pb2.ReceiveRequest())
        found: list[IncomingMessage] = []

        async def collect() -> list[IncomingMessage]:
            async for item in call:
                found.append(incoming_from_wire(item))
                if len(found) == count:
                    break
            return found

        messages = await asked(collect())
        call.cancel()
        return messages

    async def acknowledge(self, *message_ids: str) -> None:
        await asked(self.relay.Acknowledge(relay_pb2.AcknowledgeRequest(message_ids=message_ids)))


@asynccontextmanager
async def connected(port: int, agency: str, identity: TlsIdentity) -> AsyncIterator[Client]:
    """A client for as long as the context lasts."""
    async with broker_channel(f"127.0.0.1:{port}", identity) as channel:
        yield Client(agency, channel)


def message(
    to: str | bytes, sealed: bytes = b"sealed", *, message_id: str | None = None, seconds: float = 3600
) -> OutgoingMessage:
    """A message to an agency (text) or by a link token (bytes)."""
    return OutgoingMessage(
        message_id=message_id or secrets.token_hex(16),
        address=ToAgency(to) if isinstance(to, str) else ToLink(to),
        purpose="test",
        sealed=sealed,
        expires=datetime.now(UTC) + timedelta(seconds=seconds),
    )
