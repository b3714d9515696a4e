"""Officers at two agencies, each with a node's control socket and configuration, over `disclosure_nodes`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import typer
from typer.testing import CliRunner, Result

from agency_node.config import example_config
from agency_node.links import SubjectLink
from agency_node.refusals import translate
from agency_node.rpc.control import ControlServicer, NodeServices
from agency_node.subjects import SubjectId
from crypto.keystore import Argon2Cost, Keystore
from policies.ids import LinkageId
from protos.node.v1 import control_pb2_grpc
from protos.wire.peers import LOCAL_PEER
from protos.wire.server import SERVER_OPTIONS, Gatekeeper
from tests.simulator.disclosure_nodes import SimNode, World
from tests.simulator.policies import key_of

CHEAP = Argon2Cost(iterations=1, lanes=1, memory_kib=8 * 1024)
SIGNERS = ("police.investigator", "police.approver", "police.privacy", "care.approver", "care.privacy")
ListLinks = Callable[[LinkageId | None, SubjectId | None], Awaitable[tuple[SubjectLink, ...]]]


class Desk:
    """Officers at two agencies, each with a node's configuration and a keystore."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.servers: list[grpc.aio.Server] = []

    async def open(self) -> None:
        for name, node in self.world.nodes.items():
            await self._serve(name, node)
        (self.folder / "passphrase").write_text("correct horse\n")
        keystore = Keystore.create(self.folder / "keys.json", "correct horse", cost=CHEAP)
        for person in SIGNERS:
            keystore.add_signing(person, key_of(person))

    async def _serve(self, name: str, node: SimNode) -> None:
        home = self.folder / name
        home.mkdir()
        socket = self.folder / f"{name}.sock"
        text = example_config("testshire", name, "127.0.0.1:1").replace(
            "[node]\n", f'[node]\ncontrol_socket = "{socket}"\n', 1
        )
        (home / "node.toml").write_text(text)
        services = cast(NodeServices, SimpleNamespace(disclosure=node.disclosure, list_links=_links_of(node)))
        gatekeeper = Gatekeeper(lambda _context: LOCAL_PEER, translate, lambda *_: None)
        server = grpc.aio.server(interceptors=[gatekeeper], options=SERVER_OPTIONS)
        control_pb2_grpc.add_ControlServiceServicer_to_server(ControlServicer(services), server)
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self.servers.append(server)

    async def close(self) -> None:
        for server in self.servers:
            await server.stop(None)
        await self.world.close()

    async def run(self, app: typer.Typer, agency: str, *words: str, typed: str | None = None) -> Result:
        config = ("--config", str(self.folder / agency / "node.toml"))
        return await asyncio.to_thread(CliRunner().invoke, app, [*words, *config], typed)

    def order(self, person: str, role: str) -> tuple[str, ...]:
        return ("--officer", person, "--role", role, "--reason", "It is right.", *self.key(person))

    def look(self, agency: str) -> tuple[str, ...]:
        """The words with which an agency's privacy officer looks at something."""
        return self.order(f"{agency}.privacy", "privacy_officer")

    def key(self, person: str) -> tuple[str, ...]:
        keystore = self.folder / "keys.json"
        return (
            "--key",
            f"keystore:{keystore}#{person}",
            "--passphrase-file",
            str(self.folder / "passphrase"),
        )


def _links_of(node: SimNode) -> ListLinks:
    async def listed(linkage: LinkageId | None, subject: SubjectId | None) -> tuple[SubjectLink, ...]:
        async with node.store.transaction() as tx:
            return await node.disclosure.context.links.listed(tx, linkage, subject, node.clock.now)

    return listed
