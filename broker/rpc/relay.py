"""Sealed messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.relay import RelayService
from protos.relay.v1 import relay_pb2 as pb
from protos.relay.v1 import relay_pb2_grpc as grpc_pb
from protos.wire.peers import calling_agency
from protos.wire.relay import incoming_to_wire, outgoing_from_wire
from protos.wire.server import Context


class RelayServicer(grpc_pb.RelayServiceServicer):
    """`RelayService`."""

    def __init__(self, relay: RelayService) -> None:
        self._relay = relay

    async def Send(self, request: pb.SendRequest, context: Context) -> pb.SendResponse:
        """See relay.proto."""
        duplicate = await self._relay.send(calling_agency(), outgoing_from_wire(request))
        return pb.SendResponse(duplicate=duplicate)

    async def Receive(
        self, request: pb.ReceiveRequest, context: Context
    ) -> AsyncIterator[pb.ReceiveResponse]:
        """See relay.proto."""
        async for message in self._relay.receive(calling_agency()):
            yield incoming_to_wire(message)

    async def Acknowledge(self, request: pb.AcknowledgeRequest, context: Context) -> pb.AcknowledgeResponse:
        """See relay.proto."""
        await self._relay.acknowledge(calling_agency(), request.message_ids)
        return pb.AcknowledgeResponse()
