"""A member that misuses the relay: floods, foreign acknowledgements, and calls that never end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.store.memory import MemoryStore
from protos.relay.v1 import relay_pb2
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from tests.broker_client import Client, asked, message, refusal
from tests.broker_world import World, running_world
from tests.federation import CARE


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


async def fill(client: Client, purpose: str = "test", sealed: bytes = b"junk") -> int:
    """Sends to care until refused; returns how many were taken."""
    taken = 0
    while True:
        try:
            await client.send(replace(message(CARE, sealed), purpose=purpose))
        except RefusedError as refused:
            assert refused.code is ErrorCode.MAILBOX_FULL
            return taken
        taken += 1


async def test_one_sender_never_fills_a_mailbox(world: World) -> None:
    world.broker._relay._limits = replace(
        LIMITS, waiting_messages=40, one_sender_in=4, sender_messages=2, urgent_one_in=5
    )
    assert await fill(world.nhs) == 10
    assert await fill(world.nhs, "link-recall") == 2
    assert await fill(world.police) == 10  # others get through
    await world.care.acknowledge(*(item.message_id for item in await world.care.receive(12)))
    assert await fill(world.nhs) == 10


async def test_recalls_get_through_to_a_mailbox_full_of_other_things(world: World) -> None:
    world.broker._relay._limits = replace(
        LIMITS, waiting_messages=20, one_sender_in=2, sender_messages=2, urgent_one_in=5
    )
    assert await fill(world.nhs) == 10
    assert await fill(world.refuge) == 6
    assert await refusal(world.police.send(message(CARE))) is ErrorCode.MAILBOX_FULL
    for purpose in ("link-recall", "erasure-receipt", "break-glass-notice"):
        await world.police.send(replace(message(CARE), purpose=purpose))


async def test_bytes_that_wait_are_bounded(world: World) -> None:
    world.broker._relay._limits = replace(
        LIMITS, waiting_bytes=1000, one_sender_in=2, sender_bytes=100, urgent_one_in=10
    )
    assert await fill(world.nhs, sealed=b"x" * 200) == 2
    assert await fill(world.police, sealed=b"x" * 100) == 5
    assert await refusal(world.refuge.send(message(CARE))) is ErrorCode.MAILBOX_FULL


async def test_nobody_can_have_anothers_message_go_with_its_own(world: World) -> None:
    """Two messages under one id, from two senders: an acknowledgement of the one would delete the other."""
    recall = replace(message(CARE, b"recall"), purpose="link-recall")
    await world.police.send(recall)
    again = message(CARE, b"chaff", message_id=recall.message_id)
    assert await refusal(world.nhs.send(again)) is ErrorCode.MESSAGE_REPLAYED
    await world.nhs.send(message(CARE, b"other"))
    arrived = await world.care.receive(2)
    await world.care.acknowledge(arrived[1].message_id)
    assert [item.sealed for item in await world.care.receive(1)] == [b"recall"]


async def test_too_many_acknowledgements_at_once(world: World) -> None:
    most = LIMITS.acknowledgements_per_call
    ids = [f"{number:032x}" for number in range(most + 1)]
    await world.care.acknowledge(*ids[:most])
    assert await refusal(world.care.acknowledge(*ids)) is ErrorCode.TOO_LARGE


async def test_a_newer_call_ends_the_older_one(world: World) -> None:
    """A node that was killed is not locked out by its old stream, and no agency holds many of them."""
    reads = []
    for _ in range(5):
        call = world.care.relay.Receive(relay_pb2.ReceiveRequest())
        reads.append(asyncio.ensure_future(asked(call.read())))
        await asyncio.wait(reads[-1:], timeout=0.3)
    for read in reads[:-1]:
        assert await refusal(asyncio.wait_for(read, 10)) is ErrorCode.CANCELLED
    await world.police.send(message(CARE, b"here"))
    arrived = await asyncio.wait_for(reads[-1], 10)
    assert isinstance(arrived, relay_pb2.ReceiveResponse) and arrived.sealed == b"here"
    call.cancel()
    assert [item.sealed for item in await world.care.receive(1)] == [b"here"]
