"""The broker's audit log, for witnesses."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.audit import AuditLog
from broker.store.ports import BrokerStore
from broker.trust import TrustService
from protos.audit.v1 import audit_pb2 as pb
from protos.audit.v1 import audit_pb2_grpc as grpc_pb
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.peers import calling_agency
from protos.wire.server import Context

_LEAVES_AT_ONCE = 1000


class AuditServicer(grpc_pb.AuditServiceServicer):
    """`AuditService`."""

    def __init__(self, store: BrokerStore, log: AuditLog, trust: TrustService) -> None:
        self._store = store
        self._log = log
        self._trust = trust

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """See audit.proto."""
        async with self._store.read() as tx:
            return pb.GetCheckpointResponse(checkpoint=await self._log.checkpoint(tx))

    async def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, context: Context
    ) -> pb.GetConsistencyProofResponse:
        """See audit.proto."""
        async with self._store.read() as tx:
            hashes = await self._log.consistency(tx, request.old_size, request.new_size)
        return pb.GetConsistencyProofResponse(hashes=hashes)

    async def ReadLeaves(
        self, request: pb.ReadLeavesRequest, context: Context
    ) -> AsyncIterator[pb.ReadLeavesResponse]:
        """See audit.proto."""
        self._log.check_range(request.first, request.end)
        for start in range(request.first, request.end, _LEAVES_AT_ONCE):
            async with self._store.read() as tx:
                leaves = await tx.audit.leaves(start, min(start + _LEAVES_AT_ONCE, request.end))
            for index, leaf in enumerate(leaves, start):
                yield pb.ReadLeavesResponse(index=index, leaf=leaf)
            if len(leaves) < _LEAVES_AT_ONCE:
                return

    async def AddCosignature(
        self, request: pb.AddCosignatureRequest, context: Context
    ) -> pb.AddCosignatureResponse:
        """See audit.proto."""
        agency = calling_agency()
        listed = self._trust.registry().agency(agency)
        if listed is None:
            raise RefusedError(ErrorCode.NOT_A_MEMBER, f"the registry does not list {agency}")
        async with self._store.write() as tx:
            await self._log.add_cosignature(
                tx, agency, listed.node_verify_key, request.size, request.cosignature
            )
        return pb.AddCosignatureResponse()
