"""A broker and its agencies from an empty database to links and messages, through real stubs and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policies.statements import PolicyAction
from protos.wire.linkage import EpochState, LinkEventKind, RunState, Strength, UploadMode, UploadStart
from tests.broker_client import message
from tests.broker_world import World, running_world
from tests.encodings import batch, handles, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE

PEOPLE = 40


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path) as found:
        yield found


async def test_from_agreement_to_messages_by_link(world: World) -> None:
    await world.open_epoch()
    epoch = await world.care.epoch(LINKAGE)
    assert (epoch.epoch, epoch.state) == (1, EpochState.OPEN)
    assert set(epoch.confirmed_by) == {POLICE, CARE, NHS}
    await world.upload_all(PEOPLE)

    ended = await world.police.run(LINKAGE, 1)
    assert ended.state is RunState.DONE, ended
    for client in world.participants:
        assert await client.link_events(LINKAGE) == []  # no policy, nothing told

    policy = world.federation.policy()
    policy_hash = await world.care.publish(world.federation.signed_policy(policy))
    events = await world.police.link_events(LINKAGE)
    assert len(events) == 2 * PEOPLE
    assert {event.kind for event in events} == {LinkEventKind.TOLD}
    assert [event.cursor for event in events] == list(range(1, 2 * PEOPLE + 1))
    named = [event.link for event in events if event.link.counterpart == CARE]
    hidden = [event.link for event in events if event.link.counterpart is None]
    assert len(named) == len(hidden) == PEOPLE
    assert {link.policy_hash for link in named} == {policy_hash}
    assert {link.policy_hash for link in hidden} == {""}
    assert {link.handle for link in named} == set(handles(POLICE, range(PEOPLE)))
    assert {link.strength for link in named} == {Strength.STRONG}
    assert await world.care.link_events(LINKAGE) == []  # care provides, and does not receive
    assert await world.nhs.link_events(LINKAGE) == []

    order = handles(POLICE, range(PEOPLE))
    link = next(item for item in named if item.handle == order[7])
    assert not await world.police.send(message(link.token, b"please"))
    (arrived,) = await world.care.receive(1)
    assert (arrived.sender, arrived.sealed) == (POLICE, b"please")
    assert arrived.link is not None
    assert arrived.link.handle == handles(CARE, range(PEOPLE))[7]
    assert arrived.link.strength is Strength.STRONG
    await world.care.acknowledge(arrived.message_id)

    await world.care.publish_event(policy_hash, world.federation.event(policy, PolicyAction.SUSPEND, 0))
    after = await world.police.link_events(LINKAGE, events[-1].cursor)
    assert {event.kind for event in after} == {LinkEventKind.RECALLED}
    assert {event.link.token for event in after} == {event.link.token for event in events}


async def test_delta_updates_and_withdrawal(world: World) -> None:
    await world.open_epoch()
    await world.upload_all(PEOPLE)
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    await world.police.run(LINKAGE, 1)
    events = await world.police.link_events(LINKAGE)
    assert len(events) == 2 * PEOPLE
    tokens = {(event.link.handle, event.link.counterpart): event.link.token for event in events}

    epoch = await world.care.epoch(LINKAGE)
    gone = handles(CARE, range(PEOPLE))[3]
    clks = person_clks(PEOPLE + 5)
    await world.care.upload(
        epoch, LINKAGE, batch(CARE, range(0), clks, withdrawn=(gone,)), mode=UploadMode.DELTA
    )
    recalled = await world.police.link_events(LINKAGE, events[-1].cursor)
    assert [event.kind for event in recalled] == [LinkEventKind.RECALLED]
    assert recalled[0].link.handle == handles(POLICE, range(PEOPLE))[3]

    new = range(PEOPLE, PEOPLE + 5)
    for client in (world.police, world.care):
        await client.upload(epoch, LINKAGE, batch(client.agency, new, clks), mode=UploadMode.DELTA)
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    told = await world.police.link_events(LINKAGE, recalled[-1].cursor)
    assert [event.kind for event in told] == [LinkEventKind.TOLD] * 5
    assert {event.link.handle for event in told} == set(handles(POLICE, new))
    everything = await world.police.link_events(LINKAGE)
    kept = {
        (event.link.handle, event.link.counterpart): event.link.token
        for event in everything
        if event.kind is LinkEventKind.TOLD and (event.link.handle, event.link.counterpart) in tokens
    }
    assert len(kept) == 2 * PEOPLE - 1
    assert all(tokens[key] == token for key, token in kept.items())


async def test_look_up(world: World) -> None:
    await world.open_epoch()
    await world.upload_all(PEOPLE)
    epoch = await world.police.epoch(LINKAGE)
    await world.police.run(LINKAGE, 1)
    clks = noisy(person_clks(PEOPLE), 15, 99)
    asked = batch("police-new", range(5, 6), clks)
    assert await world.police.look_up(epoch, LINKAGE, asked) == []
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    links = await world.police.look_up(epoch, LINKAGE, asked)
    assert {link.counterpart for link in links} == {CARE, None}
    assert {link.handle for link in links} == set(handles("police-new", range(5, 6)))
    by_care = next(link for link in links if link.counterpart == CARE)
    await world.police.send(message(by_care.token))
    (arrived,) = await world.care.receive(1)
    assert arrived.link is not None
    assert arrived.link.handle == handles(CARE, range(PEOPLE))[5]


async def test_withdrawal_is_real_deletion(world: World) -> None:
    """From the database files, from other epochs, and from uploads under way."""
    epoch = await world.open_epoch()
    await world.upload_all(PEOPLE)
    await world.police.run(LINKAGE, 1)
    gone = handles(CARE, range(PEOPLE))[3]
    folder = world.federation.folder / "broker" / "data"
    clks = person_clks(PEOPLE)
    under_way = UploadStart(LINKAGE, 1, epoch.schema_hash, "u" * 32, UploadMode.DELTA, PEOPLE)
    await world.care.begin(under_way)
    await world.care.send_batches(under_way.upload_id, [(0, batch(CARE, range(PEOPLE), clks))])
    withdrawal = batch(CARE, range(0), clks, withdrawn=(gone,))
    await world.care.upload(epoch, LINKAGE, withdrawal, mode=UploadMode.DELTA)
    async with world.broker._store.read() as tx:
        live = await tx.encodings.live(LINKAGE, 1, CARE)
        staged = await tx.encodings.staged(under_way.upload_id)
    assert sum(item.rows for item in live) == sum(item.rows for item in staged) == PEOPLE - 1
    assert not any(gone in item.body for item in (*live, *staged))
    assert await world.care.commit(under_way.upload_id, 1, PEOPLE) == PEOPLE - 1
    await world.broker.stop()
    for file in folder.rglob("*"):
        if file.is_file():
            assert gone not in file.read_bytes(), file.name


async def test_a_node_that_vanishes_again_and_again(world: World) -> None:
    """Calls cut off at any moment harm neither the broker nor the upload."""
    epoch = await world.open_epoch()
    clks = person_clks(300)
    batches = [batch(POLICE, range(start, start + 3), clks) for start in range(0, 300, 3)]
    start = UploadStart(LINKAGE, 1, epoch.schema_hash, "v" * 32, UploadMode.FULL, 300)
    attempt = resumed = 0
    while attempt < 12 or not resumed:  # the slower the machine, the more attempts until something arrives
        resumed = (await world.police.begin(start)).next_sequence
        rest = list(enumerate(batches[resumed:], resumed))
        sending = asyncio.create_task(world.police.send_batches(start.upload_id, rest))
        await asyncio.sleep(0.005 + 0.02 * attempt)
        attempt += 1
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    resumed = (await world.police.begin(start)).next_sequence
    assert resumed > 0
    await world.police.send_batches(start.upload_id, enumerate(batches[resumed:], resumed))
    assert await world.police.commit(start.upload_id, len(batches), 300) == 300
    await world.care.epoch(LINKAGE)
