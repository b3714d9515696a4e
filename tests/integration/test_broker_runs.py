"""Runs that fail, are cancelled, or come after a new key; metrics; and the same on PostgreSQL."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from broker.store.memory import MemoryStore
from policies.statements import PolicyAction
from policies.vocabulary import OfficerRole
from protos.linkage.v1 import linkage_pb2
from protos.wire.errors import ErrorCode
from protos.wire.linkage import EpochState, LinkEventKind, RunState
from tests.broker_client import asked, message, refusal
from tests.broker_world import World, running_world
from tests.encodings import batch, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE

PEOPLE = 12


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def linked(world: World, people: int = PEOPLE) -> dict[bytes, bytes]:
    """Everything told to the police: handle and counterpart's presence to token."""
    await world.open_epoch()
    await world.upload_all(people)
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    events = await world.police.link_events(LINKAGE)
    assert len(events) == 2 * people
    return {event.link.token: event.link.handle for event in events}


async def test_tokens_outlive_the_key(world: World) -> None:
    tokens = await linked(world)
    rotate = linkage_pb2.RotateEpochRequest(
        linkage_id=LINKAGE, current_epoch=1, reason=linkage_pb2.ROTATION_REASON_AGE
    )
    assert (await asked(world.care.linkage.RotateEpoch(rotate))).epoch == 2
    assert await refusal(world.police.start_run(LINKAGE, 1)) is ErrorCode.WRONG_EPOCH
    assert await refusal(world.police.start_run(LINKAGE, 2)) is ErrorCode.EPOCH_NOT_OPEN
    for client in world.participants:
        await client.confirm(LINKAGE, 2, b"n" * 32)
    store = world.broker._store
    epoch = await world.police.epoch(LINKAGE)
    clks = person_clks(PEOPLE, seed=2)  # another key, other encodings
    for client in (world.police, world.care):
        await client.upload(epoch, LINKAGE, batch(client.agency, range(PEOPLE), clks))
    assert await refusal(world.police.start_run(LINKAGE, 2)) is ErrorCode.UPLOAD_INCOMPLETE
    async with store.read() as tx:
        assert await tx.encodings.live(LINKAGE, 1, POLICE)
    await world.nhs.upload(epoch, LINKAGE, batch(NHS, range(PEOPLE), clks))
    assert (await world.police.run(LINKAGE, 2)).state is RunState.DONE
    async with store.read() as tx:
        assert not await tx.encodings.live(LINKAGE, 1, POLICE)
    events = await world.police.link_events(LINKAGE, 2 * PEOPLE)
    assert {event.kind for event in events} == {LinkEventKind.CHANGED}
    assert {event.link.token: event.link.handle for event in events} == tokens
    assert {event.link.epoch for event in events} == {2}


async def test_after_suspicion_the_old_encodings_go_at_once(world: World) -> None:
    tokens = await linked(world)
    rotate = linkage_pb2.RotateEpochRequest(
        linkage_id=LINKAGE, current_epoch=1, reason=linkage_pb2.ROTATION_REASON_SUSPICION
    )
    await asked(world.care.linkage.RotateEpoch(rotate))
    async with world.broker._store.read() as tx:
        assert not await tx.encodings.live(LINKAGE, 1, POLICE)
    assert (await world.police.epoch(LINKAGE)).state is EpochState.KEYING
    assert len(await world.police.link_events(LINKAGE)) == len(tokens)  # links stand
    for client in world.participants:
        await client.confirm(LINKAGE, 2, b"n" * 32)
    epoch = await world.police.epoch(LINKAGE)
    for client in (world.police, world.care):
        await client.upload(epoch, LINKAGE, batch(client.agency, range(PEOPLE), person_clks(PEOPLE)))
    # a run without the NHS would recall its links
    assert await refusal(world.police.start_run(LINKAGE, 2)) is ErrorCode.UPLOAD_INCOMPLETE


async def test_a_failed_run_leaves_the_links(tmp_path: Path) -> None:
    settings = {"max_candidate_pairs": 60, "threads": 1}
    async with running_world(tmp_path, store=MemoryStore(), matching=settings) as world:
        await linked(world)
        epoch = await world.police.epoch(LINKAGE)
        same = person_clks(1).repeat(20, axis=0)
        for client in (world.police, world.care):
            await client.upload(epoch, LINKAGE, batch(client.agency, range(20), same))
        before = [e for e in await world.police.link_events(LINKAGE) if e.kind is LinkEventKind.TOLD]
        ended = await world.police.run(LINKAGE, 1)
        assert ended.state is RunState.FAILED
        assert ended.message.startswith(ErrorCode.TOO_MANY_PAIRS)
        assert "max_candidate_pairs" in ended.message
        after = [e for e in await world.police.link_events(LINKAGE) if e.kind is LinkEventKind.TOLD]
        assert after == before
        run_id = await world.police.start_run(LINKAGE, 1)  # tried anew, not taken for done
        assert (await world.police.watch_run(run_id))[-1].state is RunState.FAILED


async def test_cancel(tmp_path: Path) -> None:
    settings = {"threads": 1, "block_rows": 64}
    async with running_world(tmp_path, store=MemoryStore(), matching=settings) as world:
        epoch = await world.open_epoch()
        clks = person_clks(3000)
        for seed, client in enumerate((world.police, world.care)):
            rows = batch(client.agency, range(3000), noisy(clks, 10, seed))
            await client.upload(epoch, LINKAGE, rows)
        run_id = await world.police.start_run(LINKAGE, 1)
        watching = asyncio.create_task(world.care.watch_run(run_id))
        async for progress in world.nhs.linkage.WatchRun(linkage_pb2.WatchRunRequest(run_id=run_id)):
            if progress.done_units:
                break
        cancel = linkage_pb2.CancelRunRequest(run_id=run_id)
        assert await refusal(world.refuge.linkage.CancelRun(cancel)) is ErrorCode.NOT_A_PARTICIPANT
        await asked(world.police.linkage.CancelRun(cancel))
        assert (await watching)[-1].state is RunState.CANCELLED
        runs = tmp_path / "broker" / "data" / "matching" / "runs"
        assert list(runs.iterdir()) == []
        again = await world.police.start_run(LINKAGE, 1)
        assert again != run_id
        await asked(world.police.linkage.CancelRun(linkage_pb2.CancelRunRequest(run_id=again)))


async def test_followers_are_woken(world: World) -> None:
    await world.open_epoch()
    follow = linkage_pb2.WatchLinksRequest(linkage_id=LINKAGE, follow=True)
    call = world.police.linkage.WatchLinks(follow)

    async def first() -> int:
        async for event in call:
            return event.cursor
        return 0

    waiting = asyncio.create_task(first())
    await world.upload_all(PEOPLE)
    await world.police.run(LINKAGE, 1)
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    assert await asyncio.wait_for(waiting, 60) == 1
    call.cancel()


async def test_time_alone_ends_what_is_told(world: World) -> None:
    tokens = await linked(world)
    later = world.federation.now + timedelta(days=299)
    renewed = world.federation.new_registry(expires=later + timedelta(days=9))
    await world.police.publish_trust([], renewed.to_bytes())
    for service in (world.broker._catalogue, world.broker._links, world.broker._trust):
        service._clock = lambda: later + timedelta(days=2)
    await world.broker.keep_house()
    async with world.broker._store.read() as tx:
        assert await tx.links.tokens(LINKAGE) == ()
        assert await tx.links.pairs(LINKAGE) == ()
        assert await tx.encodings.live(LINKAGE, 1, POLICE) == ()
        events = await tx.links.events(LINKAGE, POLICE, 0, 1000)
    assert {event.kind for event in events} <= {LinkEventKind.RECALLED}
    assert tokens


async def test_suspension_and_return(world: World) -> None:
    """A suspended policy's tokens are void at once; a resumed policy brings new ones."""
    tokens = await linked(world)
    policy = world.federation.policy()
    named = next(e.link for e in await world.police.link_events(LINKAGE) if e.link.counterpart == CARE)
    digest = named.policy_hash
    await world.care.publish_event(digest, world.federation.event(policy, PolicyAction.SUSPEND, 0))
    assert await refusal(world.police.send(message(named.token))) is ErrorCode.TOKEN_UNKNOWN
    for agency in (POLICE, CARE, NHS):
        resume = world.federation.event(policy, PolicyAction.REACTIVATE, 1, agency=agency)
        await world.care.publish_event(digest, resume)
    told = [e for e in await world.police.link_events(LINKAGE) if e.kind is LinkEventKind.TOLD]
    assert told == []  # the guardians of care and the NHS have not agreed again yet
    for agency in (CARE, NHS):
        resume = world.federation.event(
            policy,
            PolicyAction.REACTIVATE,
            1,
            agency=agency,
            officer="guardian",
            role=OfficerRole.CALDICOTT_GUARDIAN,
        )
        await world.care.publish_event(digest, resume)
    told = [e for e in await world.police.link_events(LINKAGE) if e.kind is LinkEventKind.TOLD]
    assert len(told) == len(tokens)
    assert not {event.link.token for event in told} & tokens.keys()


async def reflected(world: World) -> set[str]:
    """The services that the broker says it has."""
    stub = reflection_pb2_grpc.ServerReflectionStub(world.police.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    async for answer in call:
        return {item.name for item in answer.list_services_response.service}
    return set()


async def test_reflection_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore()) as world:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reflected(world)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_can_be_switched_on(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore(), reflection=True) as world:
        assert "protos.linkage.v1.LinkageService" in await reflected(world)


async def test_metrics(tmp_path: Path) -> None:
    settings: dict[str, object] = {"metrics": "127.0.0.1:0"}
    async with running_world(tmp_path, store=MemoryStore(), **settings) as world:
        assert await refusal(world.police.epoch("none")) is ErrorCode.LINKAGE_UNKNOWN
        url = f"http://127.0.0.1:{world.broker.metrics_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    outcome = f'outcome="{ErrorCode.LINKAGE_UNKNOWN}"'
    assert any("GetEpoch" in line and outcome in line for line in page.splitlines())
    assert "tallystick_broker_runs_queued 0.0" in page


async def test_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    async with running_world(tmp_path, database=postgres_url) as world:
        await linked(world)
        link = next(e.link for e in await world.police.link_events(LINKAGE) if e.link.counterpart == CARE)
        await world.police.send(message(link.token))
        (arrived,) = await world.care.receive(1)
        assert arrived.link is not None
        await world.care.acknowledge(arrived.message_id)
        assert arrived.link.linkage_id == LINKAGE


async def test_encodings_of_an_ended_agreement_go_even_without_a_run(world: World) -> None:
    await world.open_epoch()
    await world.upload_all(PEOPLE)
    later = world.federation.now + timedelta(days=301)
    renewed = world.federation.new_registry(expires=later + timedelta(days=9))
    await world.police.publish_trust([], renewed.to_bytes())
    world.broker._catalogue._clock = lambda: later
    await world.broker.keep_house()
    async with world.broker._store.read() as tx:
        assert await tx.encodings.linkages() == ()
