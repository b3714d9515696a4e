"""Epochs, uploads, runs and links."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.epochs import EpochService
from broker.links import LinkService
from broker.lookups import LookUpService
from broker.runs import RunService
from broker.store.model import Confirmation
from broker.uploads import UploadService
from protos.linkage.v1 import linkage_pb2 as pb
from protos.linkage.v1 import linkage_pb2_grpc as grpc_pb
from protos.wire.linkage import (
    batch_from_wire,
    epoch_state_to_wire,
    epoch_to_wire,
    link_event_to_wire,
    link_to_wire,
    progress_to_wire,
    rotation_from_wire,
    run_state_to_wire,
    upload_from_wire,
)
from protos.wire.peers import calling_agency
from protos.wire.server import Context


class LinkageServicer(grpc_pb.LinkageServiceServicer):
    """`LinkageService`."""

    def __init__(
        self,
        epochs: EpochService,
        uploads: UploadService,
        runs: RunService,
        links: LinkService,
        look_ups: LookUpService,
    ) -> None:
        self._epochs = epochs
        self._uploads = uploads
        self._runs = runs
        self._links = links
        self._look_ups = look_ups

    async def GetEpoch(self, request: pb.GetEpochRequest, context: Context) -> pb.GetEpochResponse:
        """See linkage.proto."""
        return epoch_to_wire(await self._epochs.current(calling_agency(), request.linkage_id))

    async def RotateEpoch(self, request: pb.RotateEpochRequest, context: Context) -> pb.RotateEpochResponse:
        """See linkage.proto."""
        reason = rotation_from_wire(request.reason)
        epoch = await self._epochs.rotate(calling_agency(), request.linkage_id, request.current_epoch, reason)
        return pb.RotateEpochResponse(epoch=epoch)

    async def ConfirmKey(self, request: pb.ConfirmKeyRequest, context: Context) -> pb.ConfirmKeyResponse:
        """See linkage.proto."""
        agency = calling_agency()
        confirmation = Confirmation(agency, request.transcript_hash, request.confirmation)
        state = await self._epochs.confirm(agency, request.linkage_id, request.epoch, confirmation)
        return pb.ConfirmKeyResponse(state=epoch_state_to_wire(state))

    async def BeginUpload(self, request: pb.BeginUploadRequest, context: Context) -> pb.BeginUploadResponse:
        """See linkage.proto."""
        upload = await self._uploads.begin(calling_agency(), upload_from_wire(request))
        return pb.BeginUploadResponse(next_sequence=upload.next_sequence, committed=upload.committed)

    async def UploadBatches(
        self, request_iterator: AsyncIterator[pb.UploadBatchesRequest], context: Context
    ) -> AsyncIterator[pb.UploadBatchesResponse]:
        """See linkage.proto."""
        agency = calling_agency()
        async for request in request_iterator:
            batch = batch_from_wire(request.batch)
            await self._uploads.take(agency, request.upload_id, request.sequence, batch)
            yield pb.UploadBatchesResponse(sequence=request.sequence)

    async def CommitUpload(
        self, request: pb.CommitUploadRequest, context: Context
    ) -> pb.CommitUploadResponse:
        """See linkage.proto."""
        held = await self._uploads.commit(
            calling_agency(), request.upload_id, request.batch_count, request.row_count
        )
        return pb.CommitUploadResponse(rows_held=held)

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        """See linkage.proto."""
        run_id = await self._runs.start(calling_agency(), request.linkage_id, request.epoch)
        return pb.StartRunResponse(run_id=run_id)

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        """See linkage.proto."""
        async for progress in self._runs.watch(calling_agency(), request.run_id):
            yield progress_to_wire(progress)

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """See linkage.proto."""
        state = await self._runs.cancel(calling_agency(), request.run_id)
        return pb.CancelRunResponse(state=run_state_to_wire(state))

    async def WatchLinks(
        self, request: pb.WatchLinksRequest, context: Context
    ) -> AsyncIterator[pb.WatchLinksResponse]:
        """See linkage.proto."""
        events = self._links.watch(
            calling_agency(), request.linkage_id, request.after_cursor, follow=request.follow
        )
        async for event in events:
            yield link_event_to_wire(event)

    async def LookUp(self, request: pb.LookUpRequest, context: Context) -> pb.LookUpResponse:
        """See linkage.proto."""
        links = await self._look_ups.look_up(
            calling_agency(),
            request.linkage_id,
            request.epoch,
            request.schema_hash,
            batch_from_wire(request.rows),
        )
        return pb.LookUpResponse(links=[link_to_wire(link) for link in links])
