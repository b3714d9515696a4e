"""Nodes as witnesses of the broker's log: an honest one, one that is forked, rewritten or cut short, and one
that two agencies are shown differently."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agency_node.app import Node
from agency_node.audit_check import check_export
from agency_node.audit_cli import audit_app
from agency_node.audit_manifest import LEAVES
from agency_node.disclosure.broker_witness import BROKER, BROKER_LOG, COSIGNED
from agency_node.disclosure.service import Disclosure
from agency_node.rpc.broker_client import BrokerClient
from agency_node.rpc.ports import BrokerLog
from crypto import merkle
from crypto.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_cosignature,
    sign_checkpoint,
    verified_cosignatures,
)
from policies.audit_names import broker_log_origin
from protos.wire.channels import broker_channel
from protos.wire.errors import ErrorCode, RefusedError, UnavailableError
from tests.federation import CARE, PASSPHRASE, POLICE, REFUGE
from tests.nodes import QUICK, running_nodes, until
from tests.simulator.disclosure_nodes import SimNode, World, make_world
from tests.simulator.policies import FEDERATION, key_of

Leaves = list[bytes]
ORIGIN = broker_log_origin(FEDERATION)
HISTORY: Leaves = [merkle.leaf_hash(bytes([number])) for number in range(12)]
OTHER: Leaves = [*HISTORY[:2], merkle.leaf_hash(b"never happened"), *HISTORY[3:]]


@dataclass
class PlayedBroker:
    """A broker's log in the hands of a test."""

    history: Leaves
    size: int
    signer: str = "broker"
    origin: str = ORIGIN
    reachable: bool = True
    proves: bool = True
    cosigned: dict[int, bytes] = field(default_factory=dict)

    async def checkpoint(self) -> bytes:
        root = merkle.build_tree(self.history[: self.size])[0].root()
        return sign_checkpoint(Checkpoint(self.origin, self.size, root), key_of(self.signer)).to_bytes()

    async def consistency_proof(self, old_size: int, new_size: int) -> tuple[bytes, ...]:
        if not self.proves or not old_size <= new_size <= self.size:
            raise RefusedError(ErrorCode.INVALID_ARGUMENT, "the log has no such size")
        return merkle.consistency_proof(merkle.build_tree(self.history)[1], old_size, new_size)

    async def leaves(self, first: int, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        for number in range(first, end):
            yield number, b"a leaf that is not asked for here"

    async def cosign(self, size: int, cosignature: bytes) -> None:
        if not self.reachable:
            raise UnavailableError("the broker is out of reach")
        self.cosigned[size] = cosignature


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def look(node: SimNode, broker: BrokerLog) -> None:
    await node.disclosure.watch_broker(broker)


async def seen_size(node: SimNode | Node) -> int:
    store = node.store if isinstance(node, SimNode) else node.parts.store
    async with store.transaction() as tx:
        held = await tx.audit.witnessed(BROKER, COSIGNED)
    return held[0] if held else 0


async def alarms(node: SimNode) -> list[tuple[str, str]]:
    """Why the broker's log raised alarms, and to whom the earlier head had been shown."""
    bodies = await node.bodies("misuse-suspected")
    queue = [item.kind for item in await node.disclosure.list_supervision() if item.kind != "sample"]
    assert queue == [BROKER_LOG] * len(bodies)
    return [(str(body["reason"]), str(body["shown_to"])) for body in bodies]


async def test_a_log_that_grows_is_cosigned_and_remembered_before(world: World) -> None:
    broker = PlayedBroker(HISTORY, 0)
    await look(world.police, broker)
    assert broker.cosigned == {}  # there is nothing to vouch for yet
    for broker.size in (3, 7, 12):
        await look(world.police, broker)
        assert await seen_size(world.police) == broker.size
    assert list(broker.cosigned) == [3, 7, 12]
    name, key = f"{FEDERATION}/agency/police/witness", key_of("node police").verify_key
    signed = parse_checkpoint(await broker.checkpoint())
    line = parse_cosignature(broker.cosigned[12].decode())
    assert verified_cosignatures(replace(signed, signatures=(line,)), {name: key})
    assert await alarms(world.police) == []


async def test_what_was_seen_is_durable_though_the_cosignature_is_lost(world: World) -> None:
    broker = PlayedBroker(HISTORY, 5, reachable=False)
    with pytest.raises(UnavailableError):
        await look(world.police, broker)
    assert await seen_size(world.police) == 5 and broker.cosigned == {}
    fork = PlayedBroker(OTHER, 5)
    await look(world.police, fork)
    assert fork.cosigned == {} and await alarms(world.police) == [("fork", "police")]
    broker.reachable = True
    await look(world.police, broker)
    assert list(broker.cosigned) == [5]


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (PlayedBroker(OTHER, 8), "fork"),
        (PlayedBroker(OTHER, 10), "rewritten"),
        (PlayedBroker(HISTORY, 10, proves=False), "rewritten"),
        (PlayedBroker(HISTORY, 7), "shrunk"),
        (PlayedBroker(HISTORY, 0), "shrunk"),
        (PlayedBroker(HISTORY, 10, signer="another"), "not-signed"),
        (PlayedBroker(HISTORY, 10, origin="elsewhere/broker/audit"), "other-log"),
    ],
    ids=["fork", "rewrite", "no proof", "smaller", "emptied", "another's signature", "another log"],
)
async def test_a_forged_log_is_never_cosigned_and_raises_an_alarm_once_a_day(
    world: World, forged: PlayedBroker, reason: str
) -> None:
    await look(world.police, PlayedBroker(HISTORY, 8))
    forged.cosigned.clear()
    for _ in range(3):
        await look(world.police, forged)
    assert forged.cosigned == {} and await seen_size(world.police) == 8
    assert await alarms(world.police) == [(reason, "police")]
    (body,) = await world.police.bodies("misuse-suspected")
    assert parse_checkpoint(str(body["earlier"]).encode()).checkpoint.size == 8
    assert str(body["later"]).encode() == await forged.checkpoint()
    world.clock.advance(days=1)
    await look(world.police, forged)
    assert len(await alarms(world.police)) == 2


async def test_a_new_log_needs_a_new_key_in_the_registry(world: World) -> None:
    await look(world.police, PlayedBroker(HISTORY, 8))
    begun_anew = PlayedBroker(OTHER, 2, signer="the broker's second key")
    await look(world.police, begun_anew)
    assert begun_anew.cosigned == {} and await alarms(world.police) == [("not-signed", "police")]
    key = key_of("the broker's second key").verify_key
    world.registries.registry = replace(world.registries.registry, broker_verify_key=key)
    await look(world.police, begun_anew)
    assert list(begun_anew.cosigned) == [2] and await seen_size(world.police) == 2
    assert len(await alarms(world.police)) == 1


async def test_a_head_that_cannot_be_read(world: World) -> None:
    class Nonsense(PlayedBroker):
        async def checkpoint(self) -> bytes:
            return b"\xff nonsense"

    await look(world.police, Nonsense(HISTORY, 3))
    assert await alarms(world.police) == [("unreadable", "police")]


async def tell_each_other(world: World) -> None:
    """Each shows its log to its witnesses, and with it the broker's head that it cosigned."""
    for node in (world.police, world.care):
        await world.ask() if node is world.police else None
        await world.deliver()
        await node.disclosure.ask_witnesses()
        await world.deliver()


@pytest.mark.parametrize("sizes", [(5, 5), (5, 9), (9, 5)])
async def test_one_log_for_everybody_raises_no_alarm(world: World, sizes: tuple[int, int]) -> None:
    await look(world.police, PlayedBroker(HISTORY, sizes[0]))
    await look(world.care, PlayedBroker(HISTORY, sizes[1]))
    await tell_each_other(world)
    for node in (world.police, world.care):
        await look(node, PlayedBroker(HISTORY, 12))
        assert await alarms(node) == []


@pytest.mark.parametrize("sizes", [(5, 5), (5, 9), (9, 5)])
async def test_two_logs_for_two_agencies_come_to_light(world: World, sizes: tuple[int, int]) -> None:
    for_police, for_care = PlayedBroker(HISTORY, sizes[0]), PlayedBroker(OTHER, sizes[1])
    await look(world.police, for_police)
    await look(world.care, for_care)
    assert await alarms(world.police) == await alarms(world.care) == []
    await tell_each_other(world)
    for node, broker, peer in ((world.police, for_police, "care"), (world.care, for_care, "police")):
        await look(node, broker)
        ((reason, shown_to),) = await alarms(node)
        assert reason.startswith("split view") and shown_to == peer
        (body,) = await node.bodies("misuse-suspected")
        heads = [parse_checkpoint(str(body[name]).encode()) for name in ("earlier", "later")]
        # Both heads bear the broker's own signature: the evidence stands without the node that shows it.
        assert all(head.checkpoint.origin == ORIGIN for head in heads)


async def test_a_peer_cannot_slander_the_broker(world: World) -> None:
    """A head that the broker never signed says nothing, whoever tells it."""
    await look(world.care, PlayedBroker(OTHER, 5))
    async with world.care.store.transaction() as tx:
        note = await PlayedBroker(OTHER, 5, signer="another").checkpoint()
        await tx.audit.put_witnessed(BROKER, COSIGNED, 5, note)
    await tell_each_other(world)
    await look(world.police, PlayedBroker(HISTORY, 5))
    assert await alarms(world.police) == []


async def test_nodes_cosign_a_real_broker_as_it_works(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as running:
        client = BrokerClient(
            broker_channel(f"127.0.0.1:{running.broker.port}", running.federation.agency(REFUGE))
        )
        await running.agree()
        for agency in (POLICE, CARE):
            await running.stop(agency)
            folder = running.folders[agency]
            node = Node.from_config(folder.config, PASSPHRASE, timings=replace(QUICK, witness=0.2))
            running.nodes[agency] = node
            await node.start()
        names = {
            f"{FEDERATION}/agency/{agency}/witness": key_of(f"node {agency}").verify_key
            for agency in (POLICE, CARE)
        }

        async def cosigned_beyond(size: int) -> bool:
            signed = parse_checkpoint(await client.audit.checkpoint())
            seen = {await seen_size(running.nodes[agency]) for agency in (POLICE, CARE)}
            now = signed.checkpoint.size
            return now > size and len(verified_cosignatures(signed, names)) == 2 and seen == {now}

        await until(lambda: cosigned_beyond(0))
        before = parse_checkpoint(await client.audit.checkpoint()).checkpoint.size
        policy = running.federation.signed_policy(running.federation.policy())
        await running.nodes[CARE].publish_document(policy)
        await until(lambda: cosigned_beyond(before))
        await client.close()
        export = tmp_path / "broker-log"
        export.mkdir()
        disclosure = running.nodes[POLICE].disclosure
        assert isinstance(disclosure, Disclosure)
        async with aclosing(disclosure.export_audit(broker=True)) as chunks:
            async for name, chunk in chunks:
                with (export / name).open("ab") as stream:
                    stream.write(chunk)
        check_an_export(export, running.federation.root_envelope.digest)


def check_an_export(folder: Path, anchor: str) -> None:
    """Sound as it is, with two witnesses; and not sound after any change to what the broker said."""
    report = check_export(folder, anchor=anchor, witnesses=2)
    assert report.findings == () and report.of_broker and report.size > 0
    said = CliRunner().invoke(audit_app, ["verify", str(folder), "--witnesses", "2"])
    assert said.exit_code == 0 and "Audit log of the broker, as police was shown it," in said.output
    assert {item.kind for item in check_export(folder, anchor=anchor, witnesses=3).findings} == {
        "unwitnessed-head"
    }
    leaves = (folder / LEAVES).read_bytes()
    lines = leaves.splitlines(keepends=True)
    first, second, rest = lines[0], lines[1], lines[2:]
    another = second.replace(b'"subject":null', b'"subject":"%s"' % (b"0" * 64))
    for changed, kind in (
        (lines[1:], "sequence-gap"),
        (lines[:-1], "missing-leaves"),
        ([first, *lines], "sequence-gap"),
        ([first, b"{}\n", *rest], "malformed-leaf"),
        ([first, another, *rest], "root-mismatch"),
    ):
        (folder / LEAVES).write_bytes(b"".join(changed))
        kinds = {item.kind for item in check_export(folder, anchor=anchor).findings}
        assert {"altered-file", kind} <= kinds, (kind, kinds)
    (folder / LEAVES).write_bytes(leaves)
