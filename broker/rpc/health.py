"""gRPC's health and reflection services."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Health:
    """Says whether the broker serves; nobody is told so before it does, nor while it shuts down."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the service to a server that is not started yet."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def serving(self, services: Sequence[str]) -> None:
        """All services, and the server as a whole, serve from now on."""
        for service in ("", *services):
            await self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def leaving(self) -> None:
        """Nothing serves any more."""
        await self._servicer.enter_graceful_shutdown()


def enable_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Lets any member ask which methods there are."""
    from grpc_reflection.v1alpha import reflection

    reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), server)
