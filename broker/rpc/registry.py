"""Trust documents."""

from __future__ import annotations

from broker.documents import Changed
from broker.trust import TrustService
from protos.registry.v1 import registry_pb2 as pb
from protos.registry.v1 import registry_pb2_grpc as grpc_pb
from protos.wire.server import Context


class RegistryServicer(grpc_pb.RegistryServiceServicer):
    """`RegistryService`."""

    def __init__(self, trust: TrustService, changed: Changed) -> None:
        self._trust = trust
        self._changed = changed

    async def GetTrust(self, request: pb.GetTrustRequest, context: Context) -> pb.GetTrustResponse:
        """See registry.proto."""
        documents = await self._trust.documents(request.known_root_version)
        return pb.GetTrustResponse(root_envelopes=documents.roots, registry_envelope=documents.registry)

    async def PublishTrust(
        self, request: pb.PublishTrustRequest, context: Context
    ) -> pb.PublishTrustResponse:
        """See registry.proto."""
        root, registry = await self._trust.publish(request.root_envelopes, request.registry_envelope)
        await self._changed()
        return pb.PublishTrustResponse(root_version=root, registry_version=registry)
