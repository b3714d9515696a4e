"""Nodes and a broker, all real, over mutual TLS: from an agreement to links, through restarts and faults."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from policies.statements import PolicyAction
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import RotationReason
from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import NodeWorld, person, real_agreement, running_nodes, until

SHARED = range(40)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NodeWorld]:
    async with running_nodes(tmp_path) as found:
        yield found


async def test_from_agreement_to_links(world: NodeWorld) -> None:
    world.folders[POLICE].people(person(n) for n in SHARED)
    world.folders[CARE].people(person(n, id=f"c{n}") for n in range(20, 60))
    world.folders[NHS].people(person(n, id=f"n{n}") for n in range(30, 50))
    await world.agree()
    for agency in (POLICE, CARE, NHS):
        counts = (await world.sync(agency)).counts
        assert counts["subjects_changed"] == counts["subjects_read"]
    await world.match(POLICE)
    assert await world.nodes[POLICE].list_links(None, None) == ()  # no policy, nothing told

    policy = world.federation.policy()
    await world.nodes[CARE].publish_document(world.federation.signed_policy(policy))

    async def told() -> bool:
        return len(await world.nodes[POLICE].list_links(LINKAGE, None)) == 30

    await until(told)
    links = await world.nodes[POLICE].list_links(None, None)
    named = {item.subject_id for item in links if item.link.counterpart == CARE}
    hidden = {item.subject_id for item in links if item.link.counterpart is None}
    assert named == {f"p{n}" for n in range(20, 40)}
    assert hidden == {f"p{n}" for n in range(30, 40)}
    assert await world.nodes[CARE].list_links(None, None) == ()
    assert (await world.nodes[POLICE].status()).linkages[0].links == 30


async def test_changes_and_withdrawals_travel_as_a_delta(world: NodeWorld) -> None:
    police = world.folders[POLICE]
    police.people(person(n) for n in range(30))
    await world.agree()
    assert (await world.sync(POLICE)).counts["subjects_changed"] == 30
    assert (await world.sync(POLICE)).counts["rows_sent"] == 0
    police.people(person(n, house="99") if n == 3 else person(n) for n in range(1, 31))
    counts = (await world.sync(POLICE)).counts
    assert (counts["subjects_changed"], counts["subjects_withdrawn"], counts["rows_sent"]) == (2, 1, 2)
    store = world.nodes[POLICE].parts.store
    async with store.transaction() as tx:
        assert await tx.handles.count(LINKAGE) == 30
        assert await tx.uploads.current(LINKAGE) is None
    counts = (await world.sync(POLICE, full=True)).counts
    assert counts["rows_sent"] == 30


async def test_a_source_that_lost_most_of_its_rows_is_not_believed(world: NodeWorld) -> None:
    police = world.folders[POLICE]
    police.people(person(n) for n in range(300))
    await world.agree()
    await world.sync(POLICE)
    police.people(person(n) for n in range(20))
    with pytest.raises(RefusedError, match="280 of 300 subjects are missing"):
        await world.sync(POLICE)
    assert (await world.sync(POLICE, full=True)).counts["subjects_withdrawn"] == 280


async def test_upload_before_the_key_is_agreed_is_refused(world: NodeWorld) -> None:
    await world.stop(NHS)
    agreement = real_agreement(world.federation)
    await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))

    async def known() -> bool:
        return bool((await world.nodes[POLICE].status()).linkages)

    await until(known)
    with pytest.raises(RefusedError) as refused:
        await world.sync(POLICE)
    assert refused.value.code is ErrorCode.EPOCH_NOT_OPEN
    assert "nhs" in refused.value.detail
    assert "nhs" in (await world.nodes[POLICE].status()).linkages[0].waiting_for
    # the node that was away gets its messages when it comes back, and the epoch opens
    await world.start(NHS)
    await world.until_open((POLICE, CARE, NHS))


async def test_restarts_in_the_middle_of_the_key_agreement(world: NodeWorld) -> None:
    agreement = real_agreement(world.federation)
    await world.nodes[POLICE].publish_document(world.federation.signed_agreement(agreement))
    for agency in (CARE, POLICE, NHS, CARE):
        await world.stop(agency)
        await world.start(agency)
    await world.until_open((POLICE, CARE, NHS))
    keys = set()
    for node in world.nodes.values():
        async with node.parts.store.transaction() as tx:
            keys.add(await node.parts.ring.key(tx, LINKAGE, 1))
            assert await tx.outbox.count() == 0
    assert len(keys) == 1


async def test_new_epoch_gives_a_new_key_and_a_full_upload(world: NodeWorld) -> None:
    world.folders[POLICE].people(person(n) for n in range(10))
    await world.agree()
    await world.sync(POLICE)
    node = world.nodes[POLICE]
    async with node.parts.store.transaction() as tx:
        handles = {entry.handle for entry in (await tx.handles.in_range(LINKAGE, b"", None)).values()}
    assert await node.rotate_key(LINKAGE, RotationReason.SUSPICION) == 2
    await world.until_open((POLICE, CARE, NHS), epoch=2)
    assert (await world.sync(POLICE)).counts["rows_sent"] == 10
    async with node.parts.store.transaction() as tx:
        assert handles == {entry.handle for entry in (await tx.handles.in_range(LINKAGE, b"", None)).values()}
        assert await node.parts.ring.key(tx, LINKAGE, 1) != await node.parts.ring.key(tx, LINKAGE, 2)


async def test_suspension_at_the_provider_reaches_broker_and_recipient(world: NodeWorld) -> None:
    world.folders[POLICE].people(person(n) for n in range(5))
    world.folders[CARE].people(person(n) for n in range(5))
    await world.agree()
    for agency in (POLICE, CARE):
        await world.sync(agency)
    policy = world.federation.policy()
    digest = await world.nodes[CARE].publish_document(world.federation.signed_policy(policy))
    await world.match(POLICE)

    async def links(count: int) -> bool:
        return len(await world.nodes[POLICE].list_links(None, None)) == count

    await until(lambda: links(5))
    event = world.federation.event(policy, PolicyAction.SUSPEND, 0)
    await world.nodes[CARE].publish_event(digest, event)
    await until(lambda: links(0))

    async def known() -> bool:
        held = await world.nodes[POLICE].list_documents()
        return any(item.document_hash == digest and item.state == "suspended" for item in held)

    await until(known)


async def test_the_node_listens_on_no_network_address(world: NodeWorld) -> None:
    ports = await asyncio.to_thread(listening_ports)
    assert world.broker.port in ports  # the broker runs in this process, and is all that listens
    assert ports == {world.broker.port}
    socket = world.folders[POLICE].config.control_socket
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def listening_ports() -> set[int]:
    """TCP ports on which this process listens."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


async def test_decoys_go_up_stay_put_and_stand_for_nobody(tmp_path: Path) -> None:
    sections = {"upload": "decoys_percent = 10", "metrics": 'address = "127.0.0.1:0"'}
    async with running_nodes(tmp_path, (POLICE, CARE), **sections) as world:
        world.folders[POLICE].people(person(n) for n in range(50))
        await world.agree((POLICE, CARE))
        assert (await world.sync(POLICE)).counts["rows_sent"] == 55
        assert (await world.sync(POLICE)).counts["rows_sent"] == 0
        async with world.nodes[POLICE].parts.store.transaction() as tx:
            assert await tx.handles.count(LINKAGE) == 50
            entries = await tx.handles.in_range(LINKAGE, b"", None)
        assert sum(entry.decoy for entry in entries.values()) == 5
        shown = generate_latest(world.nodes[POLICE].metrics.registry).decode()
        assert "tallystick_node_broker_connected 1.0" in shown
        assert "p1" not in shown
