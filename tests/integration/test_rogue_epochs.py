"""A member that asks for new keys without end, so that nobody can ever match."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from protos.linkage.v1 import linkage_pb2
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import RotationReason, rotation_to_wire
from tests.broker_client import Client, asked, refusal
from tests.broker_world import World, running_world
from tests.federation import LINKAGE, NHS
from tests.integration.test_rogue_broker import entries


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def rotate(client: Client, current: int, reason: RotationReason = RotationReason.SUSPICION) -> int:
    request = linkage_pb2.RotateEpochRequest(
        linkage_id=LINKAGE, current_epoch=current, reason=rotation_to_wire(reason)
    )
    return (await asked(client.linkage.RotateEpoch(request))).epoch


async def keyed(world: World, epoch: int) -> None:
    for client in world.participants:
        await client.confirm(LINKAGE, epoch)


async def test_one_member_cannot_end_a_linkage_by_new_keys(world: World) -> None:
    await world.open_epoch()
    current = 1
    with pytest.raises(RefusedError, match="TS9007"):
        for _ in range(200):
            current = await rotate(world.nhs, current)
            await keyed(world, current)
    assert current == 4  # three rotations
    for _ in range(10):
        assert await refusal(rotate(world.nhs, current, RotationReason.AGE)) is ErrorCode.RATE_LIMITED
    # on record, once an hour, with who it was
    ((actor, body),) = await entries(world, "misuse-suspected")
    assert (actor, body["rotation_refused"]) == (NHS, "suspicion")
    # another's genuine suspicion goes through at once
    assert await rotate(world.police, current) == 5
    later = world.federation.now + timedelta(hours=25)
    world.broker._epochs._clock = lambda: later
    assert await rotate(world.nhs, 5) == 6


async def test_a_key_that_is_being_agreed_is_left_alone_for_a_while(world: World) -> None:
    await world.open_epoch()
    assert await rotate(world.nhs, 1, RotationReason.AGE) == 2
    for reason in (RotationReason.AGE, RotationReason.MEMBERSHIP):
        for client in (world.nhs, world.police):
            assert await refusal(rotate(client, 2, reason)) is ErrorCode.RATE_LIMITED
    # whoever finds the key bad, or suspects something, is heard though: the first time
    assert await rotate(world.police, 2, RotationReason.KEY_MISMATCH) == 3
    assert await rotate(world.nhs, 3) == 4
    assert await refusal(rotate(world.nhs, 4)) is ErrorCode.RATE_LIMITED
    later = world.federation.now + timedelta(minutes=30)
    world.broker._epochs._clock = lambda: later
    assert await rotate(world.nhs, 4) == 5


async def test_a_suspicion_is_heard_whatever_was_asked_for_before(world: World) -> None:
    await world.open_epoch()
    for current in (1, 2, 3):
        await rotate(world.nhs, current, RotationReason.AGE)
        await keyed(world, current + 1)
    assert await refusal(rotate(world.nhs, 4, RotationReason.AGE)) is ErrorCode.RATE_LIMITED
    assert await rotate(world.nhs, 4) == 5
