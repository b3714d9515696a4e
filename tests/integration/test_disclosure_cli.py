"""What officers type, against real services behind a real control socket."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import pytest
import typer
from typer.testing import CliRunner, Result

from agency_node.audit_cli import audit_app
from agency_node.config import example_config
from agency_node.disclosure.cli import approve_app, request_app
from agency_node.refusals import translate
from agency_node.rpc.control import ControlServicer, NodeServices
from crypto.keystore import Argon2Cost, Keystore
from protos.node.v1 import control_pb2_grpc
from protos.wire.peers import LOCAL_PEER
from protos.wire.server import SERVER_OPTIONS, Gatekeeper
from tests.integration.test_node_audit_export import enrol
from tests.simulator.disclosure_nodes import SUSAN_AT_POLICE, TOKEN, SimNode, World, make_world
from tests.simulator.policies import CARE, POLICE, key_of

CHEAP = Argon2Cost(iterations=1, lanes=1, memory_kib=8 * 1024)
ASK = (
    "ask", TOKEN.text, "--officer", "police.investigator", "--role", "investigator",
    "--purpose", "domestic_abuse_risk", "--necessity", "Third call in a month.", "--case", "CASE-77",
)  # fmt: skip


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
        for person in ("police.investigator", "care.approver"):
            keystore.add_signing(person, key_of(person))

    async def _serve(self, name: str, node: SimNode) -> None:
        home = self.folder / name
        home.mkdir()
        socket = self.folder / f"{name}.sock"
        text = example_config("testshire", name, "127.0.0.1:1").replace(
            "[node]\n", f'[node]\ncontrol_socket = "{socket}"\n', 1
        )
        (home / "node.toml").write_text(text)
        services = cast(NodeServices, SimpleNamespace(disclosure=node.disclosure))
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

    async def run(self, app: typer.Typer, agency: str, *words: str) -> Result:
        config = ("--config", str(self.folder / agency / "node.toml"))
        return await asyncio.to_thread(CliRunner().invoke, app, [*words, *config])

    def key(self, person: str) -> tuple[str, ...]:
        keystore = self.folder / "keys.json"
        return (
            "--key",
            f"keystore:{keystore}#{person}",
            "--passphrase-file",
            str(self.folder / "passphrase"),
        )


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    world = await make_world()
    await enrol(world)
    # A socket's path is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made = Desk(Path(folder), world)
        await made.open()
        yield made
        await made.close()


async def test_from_question_to_picture(desk: Desk) -> None:
    asked = await desk.run(request_app, POLICE, *ASK, "--tier", "2", *desk.key("police.investigator"))
    assert asked.exit_code == 0 and "Sent to care: summary" in asked.output
    await desk.world.deliver()
    queue = await desk.run(approve_app, CARE, "queue", "--json")
    (waiting,) = json.loads(queue.output)
    assert (waiting["agency"], waiting["approvals_needed"]) == ("police", 1)
    approved = await desk.run(
        approve_app, CARE, "approve", waiting["request"], "--officer", "care.approver",
        "--reason", "Proportionate.", *desk.key("care.approver"),
    )  # fmt: skip
    assert "The request is now: released" in approved.output
    await desk.world.deliver()
    shown = await desk.run(request_app, POLICE, "show", waiting["request"])
    assert "OFFICIAL-SENSITIVE" in shown.output and "Neighbour heard shouting." in shown.output
    assert "incident, summary: withheld by clause 5" in shown.output and "Hidden" not in shown.output
    listed = await desk.run(request_app, POLICE, "list")
    assert "summary: released" in listed.output and "1 requests" in listed.output
    picture = await desk.run(request_app, POLICE, "picture", SUSAN_AT_POLICE)
    assert (
        "care, incident (received)" in picture.output and "[summary: withheld by clause 5]" in picture.output
    )


async def test_a_refusal_is_one_sentence_and_exit_code_1(desk: Desk) -> None:
    words = [word if word != "domestic_abuse_risk" else "missing_person" for word in ASK]
    refused = await desk.run(request_app, POLICE, *words, *desk.key("police.investigator"))
    assert refused.exit_code == 1 and "the policy is not for this purpose" in refused.output
    assert "Traceback" not in refused.output


async def test_export_and_verify(desk: Desk) -> None:
    await desk.run(request_app, POLICE, *ASK, *desk.key("police.investigator"))
    await desk.world.deliver()
    folder = desk.folder / "export"
    exported = await desk.run(audit_app, CARE, "export", str(folder))
    assert exported.exit_code == 0 and "tallystick audit verify" in exported.output
    again = await desk.run(audit_app, CARE, "export", str(folder))
    assert again.exit_code == 1 and "not empty" in again.output
    report = json.loads(CliRunner().invoke(audit_app, ["verify", str(folder), "--json"]).output)
    assert [item["kind"] for item in report["findings"]] in ([], ["time-went-back"])
