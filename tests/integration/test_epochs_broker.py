"""Epochs at the broker: a newer agreement has one new epoch, whoever still works by the old one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from policies.codec import document_hash
from policies.ids import Hash256
from protos.wire.errors import ErrorCode, UnavailableError
from protos.wire.linkage import EpochState, LinkEventKind
from tests.broker_client import refusal
from tests.broker_world import World, running_world
from tests.federation import CARE, LINKAGE, NHS, POLICE

PEOPLE = 12


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def test_an_old_agreement_does_not_come_back(world: World) -> None:
    await world.open_epoch()
    old = world.broker._catalogue.linkage(LINKAGE)
    newer = replace(old.agreement, version=2, supersedes=Hash256(document_hash(old.agreement)))
    await world.police.publish(world.federation.signed_agreement(newer))
    async with world.broker._store.write() as tx:
        with pytest.raises(UnavailableError, match="try again"):
            await world.broker._epochs.ensure(tx, old)
    assert (await world.police.epoch(LINKAGE)).epoch == 2
    await world.broker.keep_house()
    epoch = await world.police.epoch(LINKAGE)
    assert (epoch.epoch, epoch.state) == (2, EpochState.KEYING)


async def test_who_is_left_out_loses_encodings_and_links_at_once(world: World) -> None:
    await world.open_epoch()
    await world.upload_all(PEOPLE)
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    await world.police.run(LINKAGE, 1)
    old = world.federation.agreement()
    newer = replace(
        world.federation.agreement((POLICE, CARE)), version=2, supersedes=Hash256(document_hash(old))
    )
    await world.police.publish(world.federation.signed_agreement(newer))
    async with world.broker._store.read() as tx:
        assert await tx.encodings.agencies(LINKAGE) == (CARE, POLICE)
        assert {item.counterpart.agency for item in await tx.links.tokens(LINKAGE)} == {CARE}
        pairs = await tx.links.pairs(LINKAGE)
    assert {side.agency for pair in pairs for side in (pair.first, pair.second)} == {POLICE, CARE}
    events = await world.police.link_events(LINKAGE)
    kinds = [event.kind for event in events]
    assert kinds.count(LinkEventKind.RECALLED) == PEOPLE
    assert await refusal(world.nhs.epoch(LINKAGE)) is ErrorCode.NOT_A_PARTICIPANT
    assert NHS not in (await world.police.epoch(LINKAGE)).confirmed_by
