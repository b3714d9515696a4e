"""The broker's services as the node calls them: domain values in and out, `RefusedError` for any failure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import grpc

from protos.audit.v1 import audit_pb2, audit_pb2_grpc
from protos.documents.v1 import documents_pb2, documents_pb2_grpc
from protos.linkage.v1 import linkage_pb2, linkage_pb2_grpc
from protos.registry.v1 import registry_pb2, registry_pb2_grpc
from protos.relay.v1 import relay_pb2, relay_pb2_grpc
from protos.wire.documents import DocumentBundle, DocumentKind, bundle_from_wire, bundle_to_wire, kind_to_wire
from protos.wire.errors import refused_from_rpc
from protos.wire.limits import LIMITS
from protos.wire.linkage import (
    EncodingBatch,
    Epoch,
    EpochState,
    Link,
    LinkEvent,
    RotationReason,
    RunProgress,
    RunState,
    UploadStart,
    batch_to_wire,
    epoch_from_wire,
    epoch_state_from_wire,
    link_event_from_wire,
    link_from_wire,
    progress_from_wire,
    rotation_to_wire,
    run_state_from_wire,
    upload_to_wire,
)
from protos.wire.relay import IncomingMessage, OutgoingMessage, incoming_from_wire, outgoing_to_wire

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
#: A look-up or a commit may wait for matching work at the broker.
_LONG_SECONDS = 300.0


async def _call(
    method: Callable[..., Awaitable[_Response]],
    request: object,
    seconds: float = LIMITS.unary_deadline_seconds,
) -> _Response:
    try:
        return await method(request, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        raise refused_from_rpc(error) from None


async def _stream(call: AsyncIterable[_Response]) -> AsyncGenerator[_Response, None]:
    try:
        async for item in call:
            yield item
    except grpc.aio.AioRpcError as error:
        raise refused_from_rpc(error) from None
    finally:
        cancel = getattr(call, "cancel", None)
        if cancel is not None:
            cancel()


class RegistryClient:
    """Trust documents."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)

    async def trust(self, known_root_version: int) -> tuple[tuple[bytes, ...], bytes]:
        """The roots after a version, and the newest registry."""
        answer = await _call(
            self._stub.GetTrust, registry_pb2.GetTrustRequest(known_root_version=known_root_version)
        )
        return tuple(answer.root_envelopes), answer.registry_envelope

    async def publish(self, roots: Sequence[bytes], registry: bytes) -> None:
        """Offers newer trust documents to the broker."""
        await _call(
            self._stub.PublishTrust,
            registry_pb2.PublishTrustRequest(root_envelopes=roots, registry_envelope=registry),
        )


class DocumentClient:
    """Signed documents and policy status."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = documents_pb2_grpc.DocumentServiceStub(channel)

    async def publish(self, bundle: DocumentBundle) -> str:
        """Publishes a fully signed document; returns its hash."""
        request = documents_pb2.PublishDocumentRequest(document=bundle_to_wire(bundle))
        return (await _call(self._stub.PublishDocument, request)).document_hash

    async def publish_event(self, document_hash: str, event: bytes) -> None:
        """Publishes a lifecycle event of a policy."""
        await _call(
            self._stub.PublishEvent,
            documents_pb2.PublishEventRequest(document_hash=document_hash, event_envelope=event),
        )

    async def listed(self, kind: DocumentKind | None = None) -> AsyncGenerator[DocumentBundle, None]:
        """The documents to which this agency is a party."""
        request = documents_pb2.ListDocumentsRequest(kind=kind_to_wire(kind))
        async with aclosing(_stream(self._stub.ListDocuments(request))) as answers:
            async for answer in answers:
                yield bundle_from_wire(answer.document)

    async def publish_status(self, status: bytes) -> None:
        """Publishes this agency's status snapshot."""
        await _call(self._stub.PublishStatus, documents_pb2.PublishStatusRequest(status_envelope=status))

    async def statuses(self, policy_hash: str) -> tuple[bytes, ...]:
        """The newest snapshot of each provider of a policy."""
        answer = await _call(self._stub.GetStatus, documents_pb2.GetStatusRequest(policy_hash=policy_hash))
        return tuple(answer.status_envelopes)


class LinkageClient:
    """Epochs, uploads, runs and links."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = linkage_pb2_grpc.LinkageServiceStub(channel)

    async def epoch(self, linkage_id: str) -> Epoch:
        """The current epoch."""
        return epoch_from_wire(
            await _call(self._stub.GetEpoch, linkage_pb2.GetEpochRequest(linkage_id=linkage_id))
        )

    async def rotate(self, linkage_id: str, current_epoch: int, reason: RotationReason) -> int:
        """Asks for a new epoch; returns the current one, whoever asked first."""
        request = linkage_pb2.RotateEpochRequest(
            linkage_id=linkage_id, current_epoch=current_epoch, reason=rotation_to_wire(reason)
        )
        return (await _call(self._stub.RotateEpoch, request)).epoch

    async def confirm_key(
        self, linkage_id: str, epoch: int, transcript_hash: bytes, confirmation: bytes
    ) -> EpochState:
        """Confirms the epoch's key without showing it."""
        request = linkage_pb2.ConfirmKeyRequest(
            linkage_id=linkage_id,
            epoch=epoch,
            transcript_hash=transcript_hash,
            confirmation=confirmation,
        )
        return epoch_state_from_wire((await _call(self._stub.ConfirmKey, request)).state)

    async def begin_upload(self, start: UploadStart) -> tuple[int, bool]:
        """Begins or resumes an upload: (the first batch that the broker lacks, whether it is committed)."""
        answer = await _call(self._stub.BeginUpload, upload_to_wire(start))
        return answer.next_sequence, answer.committed

    async def upload(
        self, upload_id: str, batches: AsyncIterator[tuple[int, bytes]]
    ) -> AsyncGenerator[int, None]:
        """Sends batches, each as its serialised `EncodingBatch`; yields each number once durable there."""

        async def requests() -> AsyncIterator[linkage_pb2.UploadBatchesRequest]:
            async for sequence, batch in batches:
                yield linkage_pb2.UploadBatchesRequest(
                    upload_id=upload_id,
                    sequence=sequence,
                    batch=linkage_pb2.EncodingBatch.FromString(batch),
                )

        async with aclosing(_stream(self._stub.UploadBatches(requests()))) as answers:
            async for answer in answers:
                yield answer.sequence

    async def commit_upload(self, upload_id: str, batch_count: int, row_count: int) -> int:
        """Makes an upload visible to matching; returns the rows that the broker then holds."""
        request = linkage_pb2.CommitUploadRequest(
            upload_id=upload_id, batch_count=batch_count, row_count=row_count
        )
        return (await _call(self._stub.CommitUpload, request, _LONG_SECONDS)).rows_held

    async def start_run(self, linkage_id: str, epoch: int) -> str:
        """Starts a matching run, or joins the one that works on the same data."""
        request = linkage_pb2.StartRunRequest(linkage_id=linkage_id, epoch=epoch)
        return (await _call(self._stub.StartRun, request)).run_id

    async def watch_run(self, run_id: str) -> AsyncGenerator[RunProgress, None]:
        """A run's progress until it ends."""
        call = self._stub.WatchRun(linkage_pb2.WatchRunRequest(run_id=run_id))
        async with aclosing(_stream(call)) as answers:
            async for answer in answers:
                yield progress_from_wire(answer)

    async def cancel_run(self, run_id: str) -> RunState:
        """Asks for a run to stop."""
        answer = await _call(self._stub.CancelRun, linkage_pb2.CancelRunRequest(run_id=run_id))
        return run_state_from_wire(answer.state)

    async def watch_links(
        self, linkage_id: str, after_cursor: int, *, follow: bool
    ) -> AsyncGenerator[LinkEvent, None]:
        """What this agency may know of its links, from a cursor on."""
        request = linkage_pb2.WatchLinksRequest(
            linkage_id=linkage_id, after_cursor=after_cursor, follow=follow
        )
        async with aclosing(_stream(self._stub.WatchLinks(request))) as answers:
            async for answer in answers:
                yield link_event_from_wire(answer)

    async def look_up(
        self, linkage_id: str, epoch: int, schema_hash: str, rows: EncodingBatch
    ) -> tuple[Link, ...]:
        """One encoded subject against everything held; nothing is stored."""
        request = linkage_pb2.LookUpRequest(
            linkage_id=linkage_id, epoch=epoch, schema_hash=schema_hash, rows=batch_to_wire(rows)
        )
        answer = await _call(self._stub.LookUp, request, _LONG_SECONDS)
        return tuple(link_from_wire(link) for link in answer.links)


class RelayClient:
    """Sealed messages."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = relay_pb2_grpc.RelayServiceStub(channel)

    async def send(self, message: OutgoingMessage) -> bool:
        """Hands a message to the broker; returns whether it was there already."""
        return (await _call(self._stub.Send, outgoing_to_wire(message))).duplicate

    async def receive(self) -> AsyncGenerator[IncomingMessage, None]:
        """Messages for this agency, oldest first, then as they arrive."""
        call = self._stub.Receive(relay_pb2.ReceiveRequest())
        async with aclosing(_stream(call)) as answers:
            async for answer in answers:
                yield incoming_from_wire(answer)

    async def acknowledge(self, message_ids: Sequence[str]) -> None:
        """These are durable here: the broker may forget them."""
        await _call(self._stub.Acknowledge, relay_pb2.AcknowledgeRequest(message_ids=message_ids))


class BrokerAuditClient:
    """The broker's audit log, for witnesses."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = audit_pb2_grpc.AuditServiceStub(channel)

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint."""
        return (await _call(self._stub.GetCheckpoint, audit_pb2.GetCheckpointRequest())).checkpoint

    async def consistency_proof(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """That the log of `new_size` continues the one of `old_size`."""
        request = audit_pb2.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        return tuple((await _call(self._stub.GetConsistencyProof, request)).hashes)

    async def leaves(self, first: int, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Leaves `first` to `end - 1` with their numbers."""
        call = self._stub.ReadLeaves(audit_pb2.ReadLeavesRequest(first=first, end=end))
        async with aclosing(_stream(call)) as answers:
            async for answer in answers:
                yield answer.index, answer.leaf

    async def cosign(self, size: int, cosignature: bytes) -> None:
        """Adds this agency's cosignature to a checkpoint."""
        await _call(
            self._stub.AddCosignature,
            audit_pb2.AddCosignatureRequest(size=size, cosignature=cosignature),
        )


class BrokerClient:
    """Every service of the broker over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.registry = RegistryClient(channel)
        self.documents = DocumentClient(channel)
        self.linkage = LinkageClient(channel)
        self.relay = RelayClient(channel)
        self.audit = BrokerAuditClient(channel)

    async def close(self) -> None:
        """Ends all calls and closes the connection."""
        await self._channel.close(None)
