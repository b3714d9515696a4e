"""The server on the control socket: this machine's own user, and nobody else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from agency_node.errors import NodeConfigError
from agency_node.refusals import translate
from agency_node.rpc.control import ControlServicer, NodeServices
from protos.node.v1 import control_pb2_grpc
from protos.wire.peers import LOCAL_PEER
from protos.wire.server import SERVER_OPTIONS, Gatekeeper, Observe

_CONTROL_SERVICE = "protos.node.v1.ControlService"
#: A unix socket's path has at most this many bytes on Linux.
SOCKET_PATH_BYTES = 107


class ControlServer:
    """Serves a node's control service and its health."""

    def __init__(self, node: NodeServices, path: Path, observe: Observe) -> None:
        self._path = path
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined] # the stubs lack it
        gatekeeper = Gatekeeper(lambda _context: LOCAL_PEER, translate, observe)
        self._server = grpc.aio.server(interceptors=[gatekeeper], options=SERVER_OPTIONS)
        control_pb2_grpc.add_ControlServiceServicer_to_server(ControlServicer(node), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self) -> None:
        """Opens the socket, 0600 in a folder that only this user can enter.

        Raises:
            NodeConfigError: it cannot be opened, or others can enter its folder.
        """
        _prepare_socket(self._path)
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{self._path}")
            await self._server.start()
        except RuntimeError:
            raise NodeConfigError(f"the control socket {self._path} cannot be opened") from None
        finally:
            os.umask(before)
        self._path.chmod(0o600)
        for service in ("", _CONTROL_SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def set_connected(self, connected: bool) -> None:
        """Health of the service `broker`: whether the node reaches it."""
        response = health_pb2.HealthCheckResponse
        await self._health.set("broker", response.SERVING if connected else response.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Turns callers away, gives those within `grace` seconds, and removes the socket."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        with suppress(FileNotFoundError):
            self._path.unlink()


def _prepare_socket(path: Path) -> None:
    """A folder that only this user can enter, and no stale socket in it (the data folder's lock is held)."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise NodeConfigError(
            f"control_socket: {path} is longer than {SOCKET_PATH_BYTES} bytes; set a shorter path"
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_mode & 0o077:
        folder = path.parent
        raise NodeConfigError(f"control_socket: others can enter {folder}; run `chmod 700 {folder}`")
    with suppress(FileNotFoundError):
        path.unlink()
