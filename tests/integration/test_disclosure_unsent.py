"""A release that waited to be sent: it leaves by today's policy, registry and records, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from agency_node.disclosure.context import DisclosureSettings
from agency_node.disclosure.model import Direction, ReleaseSide, ReleaseState
from policies.disclosure import BreakGlass
from policies.ids import Hash256, Line, Prose
from policies.lifecycle import sign_event
from policies.statements import PolicyAction, PolicyEvent
from policies.vocabulary import OfficerRole
from tests.integration.test_disclosure_push import told
from tests.simulator.disclosure_nodes import (
    OFFICER,
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    World,
    make_world,
    record,
)
from tests.simulator.policies import CARE, key_of
from tests.simulator.waiting_relay import WaitingRelay


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world(answer_seconds=2)
    yield made
    await made.close()


async def revoke(world: World) -> None:
    act = PolicyEvent(
        policy=world.policy.id,
        document_hash=Hash256(world.policy_hash),
        sequence=0,
        action=PolicyAction.REVOKE,
        organisation=CARE,
        role=OfficerRole.SIRO,
        signed_at=world.clock.now,
        reason=Prose("A concern was raised."),
    )
    signed = sign_event(act, key_of("care.siro")).to_bytes()
    async with world.care.store.transaction() as tx:
        await world.care.book.accept_event(
            tx, world.policy_hash, signed, world.registries.registry, world.clock.now
        )


async def answered(world: World) -> tuple[str, WaitingRelay]:
    """A request whose release is queued at social care; its id, and social care's relay."""
    request_id = await world.ask()
    asking = WaitingRelay(world, world.police)
    assert await asking.deliver() == 1
    assert (await world.care.actions())[-1] == "disclosure-released"
    return request_id, WaitingRelay(world, world.care)


async def pushed(world: World) -> WaitingRelay:
    """What is pushed is queued at social care, after the offer was answered; social care's relay."""
    await told(world)
    await world.care.disclosure.keep_house()
    relay = WaitingRelay(world, world.care)
    await relay.deliver()
    await WaitingRelay(world, world.police).deliver()
    return relay


async def settled(world: World, relay: WaitingRelay) -> None:
    """Delivers, both ways, until nothing is due any more."""
    back = WaitingRelay(world, world.police)
    for _ in range(8):
        world.clock.advance(seconds=2)
        await relay.deliver()
        await back.deliver()
    assert await world.care.queued() == ()


async def state(world: World, request_id: str) -> tuple[str, str]:
    """Of a request at the police, with the refusal's code."""
    detail = await world.police.disclosure.get_request(request_id)
    return detail.summary.state, detail.refusal.partition(":")[0]


async def given(world: World, request_id: str) -> list[ReleaseState]:
    async with world.care.store.transaction() as tx:
        return [item.state for item in await tx.releases.all_of_request(ReleaseSide.GIVEN, request_id)]


async def shown(world: World) -> set[tuple[str, str]]:
    """Record types and fields that the police hold of social care's."""
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    return {(item.record_type, name) for item in items for name in item.fields}


async def test_sent_at_once_it_leaves_as_it_was_decided(world: World) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    assert item.release is not None and item.release.decided == world.clock.now
    await settled(world, relay)
    assert await state(world, request_id) == ("released", "")
    assert list(relay.accepted) == [item.message_id]
    assert await given(world, request_id) == [ReleaseState.RECEIPTED]
    assert "withdrawn" not in await world.care.actions()


async def test_revoked_while_the_broker_was_out_of_reach(world: World) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    relay.reachable = False
    for _ in range(30):
        world.clock.advance(hours=1)
        await relay.deliver()
    # While nobody could get it anyway, it waits: nothing is decided again and again.
    assert await world.care.queued() == (replace(item, attempts=31),)
    await revoke(world)
    relay.reachable = True
    world.clock.advance(minutes=1)
    await settled(world, relay)
    assert item.message_id not in relay.accepted
    assert relay.purposes == ["link-recall", "disclosure-answer"]
    answer = list(relay.accepted.values())[-1]
    assert len(answer.sealed) == len(item.sealed)
    assert await state(world, request_id) == ("refused", "policy_not_in_force")
    assert await world.police.actions() == ["disclosure-requested", "disclosure-refused"]
    assert await given(world, request_id) == [ReleaseState.WITHDRAWN]
    (body,) = await world.care.bodies("withdrawn")
    assert body["sent"] is False and body["request"] == request_id
    (seen,) = [e for e in await world.care.disclosure.about_subject(SUSAN_AT_CARE) if e.action == "withdrawn"]
    assert seen.particulars["requester"] == "police"


async def test_revoked_a_moment_after_the_decision(world: World) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    await revoke(world)
    await settled(world, relay)
    assert item.message_id not in relay.accepted
    assert await state(world, request_id) == ("refused", "policy_not_in_force")


def mark(world: World) -> None:
    """All that social care holds of Susan is marked: she is in a refuge."""
    records = world.care.records.records
    records[SUSAN_AT_CARE] = [replace(i, markers=frozenset({"refuge"})) for i in records[SUSAN_AT_CARE]]


@pytest.mark.parametrize("seconds", [1, 360])
async def test_marked_as_in_a_refuge_meanwhile(world: World, seconds: int) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    mark(world)
    world.clock.advance(seconds=seconds)
    await world.refresh_status()
    await settled(world, relay)
    assert item.message_id not in relay.accepted
    assert await state(world, request_id) == ("released", "")
    assert await shown(world) == {("link", "exists"), ("link", "agency_name")}


async def test_a_push_whose_subject_is_marked_a_moment_later_does_not_leave(world: World) -> None:
    relay = await pushed(world)
    (item,) = [item for item in await world.care.queued() if item.release is not None]
    mark(world)
    await settled(world, relay)
    assert item.message_id not in relay.accepted
    (body,) = await world.care.bodies("withdrawn")
    assert body["sent"] is False and body["request"] == ""


async def test_a_conflict_declared_a_moment_after_the_decision(world: World) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    await world.order(
        world.care, "declare-conflict", OFFICER, "care.privacy", "privacy_officer", about=str(SUSAN_AT_CARE)
    )
    await settled(world, relay)
    assert item.message_id not in relay.accepted
    assert await state(world, request_id) == ("refused", "not_available")
    assert await shown(world) == set()


async def test_while_the_source_cannot_be_read_it_waits_and_then_leaves_as_decided(world: World) -> None:
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    world.care.records.fails = True
    for _ in range(3):
        world.clock.advance(seconds=20)
        await relay.deliver()
    assert relay.accepted == {} and await given(world, request_id) == [ReleaseState.OPEN]
    world.care.records.fails = False
    world.clock.advance(minutes=1)
    await settled(world, relay)
    assert list(relay.accepted) == [item.message_id]
    assert await state(world, request_id) == ("released", "")


async def test_a_changed_record_leaves_as_it_is_now(world: World) -> None:
    request_id, relay = await answered(world)
    world.care.records.records[SUSAN_AT_CARE] = [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="standard", consent="given")
    ]
    world.clock.advance(minutes=6)
    await world.refresh_status()
    await settled(world, relay)
    assert await state(world, request_id) == ("released", "")
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert {item.fields["risk_band"] for item in items if "risk_band" in item.fields} == {"standard"}
    assert await given(world, request_id) == [ReleaseState.WITHDRAWN, ReleaseState.RECEIPTED]


async def test_after_the_requests_time_nothing_is_released(world: World) -> None:
    request_id, relay = await answered(world)
    world.clock.advance(days=8)
    await settled(world, relay)
    assert relay.purposes == ["link-recall", "disclosure-answer"]
    assert await given(world, request_id) == [ReleaseState.WITHDRAWN]
    (body,) = await world.care.bodies("disclosure-refused")
    assert body["code"] == "request_expired"


@pytest.mark.parametrize("revoked", [True, False])
async def test_a_lost_acknowledgement(world: World, revoked: bool) -> None:
    """The broker has the release, and the recipient gets it, with the recall after it."""
    request_id, relay = await answered(world)
    world.clock.advance(seconds=2)
    relay.loses_acknowledgements = True
    await world.care.mailbox.send_due(relay)
    assert len(relay.accepted) == len(await world.care.queued()) == 1
    relay.loses_acknowledgements = False
    world.clock.advance(minutes=6)
    if revoked:
        await revoke(world)
    await world.refresh_status()
    await world.care.mailbox.send_due(relay)
    await settled(world, relay)
    assert relay.purposes == ["disclosure-answer", "link-recall", "disclosure-answer"]
    assert "purged" in await world.police.actions()
    assert "identity-refused" not in await world.police.actions()
    fresh = [] if revoked else [ReleaseState.RECEIPTED]
    assert await given(world, request_id) == [ReleaseState.ERASED, *fresh]
    assert await state(world, request_id) == (
        ("refused", "policy_not_in_force") if revoked else ("released", "")
    )
    held = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert bool(held) is not revoked


async def test_what_has_a_receipt_has_left(world: World) -> None:
    request_id, relay = await answered(world)
    world.clock.advance(seconds=2)
    relay.loses_acknowledgements = True
    await relay.deliver()
    await WaitingRelay(world, world.police).deliver()
    assert await given(world, request_id) == [ReleaseState.RECEIPTED]
    relay.loses_acknowledgements = False
    world.clock.advance(minutes=6)
    await settled(world, relay)
    assert relay.purposes == ["disclosure-answer"]
    assert await state(world, request_id) == ("released", "")
    assert "withdrawn" not in await world.care.actions()


async def test_killed_at_any_step_it_waits_as_before_or_is_taken_back_entirely(tmp_path: Path) -> None:
    world = await make_world(tmp_path, answer_seconds=2)
    request_id, relay = await answered(world)
    (item,) = await world.care.queued()
    await revoke(world)
    world.clock.advance(minutes=6)
    before = await world.care.actions()
    steps, fails_at = 0, 0

    def step(*_args: object) -> None:
        nonlocal steps
        steps += 1
        if steps == fails_at:
            raise Killed

    engine = world.care.store.engine.sync_engine
    while True:
        steps, fails_at = 0, fails_at + 1
        event.listen(engine, "before_cursor_execute", step)
        try:
            await world.care.mailbox.send_due(relay)
        except Killed:
            pass
        finally:
            event.remove(engine, "before_cursor_execute", step)
        if steps < fails_at:
            break
        assert [i.message_id for i in await world.care.queued()] == [item.message_id]
        assert await world.care.actions() == before and relay.accepted == {}
        assert await given(world, request_id) == [ReleaseState.OPEN]
        world.clock.advance(minutes=2)
    assert fails_at > 20
    assert [i.purpose for i in await world.care.queued()] == ["link-recall", "disclosure-answer"]
    assert await given(world, request_id) == [ReleaseState.WITHDRAWN]
    async with world.care.store.transaction() as tx:
        stored = await tx.requests.get(Direction.RECEIVED, request_id)
    assert stored is not None and stored.state == "refused"
    await world.close()


async def test_without_a_registry_in_force_it_neither_leaves_nor_is_taken_back(world: World) -> None:
    request_id, relay = await answered(world)
    registry = world.registries.registry
    world.clock.advance(minutes=6)
    world.registries.registry = replace(registry, expires=world.clock.now)
    await relay.deliver()
    assert relay.accepted == {} and await given(world, request_id) == [ReleaseState.OPEN]
    world.registries.registry = replace(registry, expires=world.clock.now + timedelta(days=9))
    world.clock.advance(minutes=2)
    await world.refresh_status()
    await settled(world, relay)
    assert await state(world, request_id) == ("released", "")


async def test_a_requester_that_left_gets_nothing(world: World) -> None:
    request_id, relay = await answered(world)
    registry = world.registries.registry
    world.registries.registry = replace(
        registry,
        agencies=tuple(item for item in registry.agencies if item.id != "police"),
        officers=tuple(item for item in registry.officers if item.organisation != "police"),
    )
    await settled(world, relay)
    assert relay.accepted == {}
    assert await given(world, request_id) == [ReleaseState.WITHDRAWN]


async def test_break_glass_that_waited_is_one_use(world: World) -> None:
    """A second decision about the same claim is no second use of it, and the review stays due."""
    claim = BreakGlass(Line("threat to life"), Prose("He is at her door."), world.clock.now)
    await world.ask(tier=2, break_glass=claim)
    assert await WaitingRelay(world, world.police).deliver() == 1
    relay = WaitingRelay(world, world.care)
    world.clock.advance(minutes=6)
    await world.refresh_status()
    await settled(world, relay)
    assert relay.purposes.count("disclosure-answer") == 1
    assert (await world.care.actions()).count("break-glass-invoked") == 1
    assert len(await world.care.disclosure.list_emergencies()) == 1


async def test_a_push_that_waited_is_forgotten_and_looked_at_again(world: World) -> None:
    relay = await pushed(world)
    waiting = [item for item in await world.care.queued() if item.purpose == "disclosure-answer"]
    assert len(waiting) == 1 and waiting[0].release is not None
    relay.reachable = False
    world.clock.advance(hours=20)
    await world.care.mailbox.send_due(relay)
    world.care.records.records[SUSAN_AT_CARE] = []
    await world.refresh_status()
    relay.reachable = True
    world.clock.advance(minutes=2)
    await settled(world, relay)
    assert "disclosure-answer" not in relay.purposes and "link-recall" in relay.purposes
    (body,) = await world.care.bodies("withdrawn")
    assert body["sent"] is False and body["request"] == ""
    await world.care.disclosure.keep_house()
    await settled(world, relay)
    assert await shown(world) == {("link", "exists"), ("link", "agency_name")}


async def test_a_push_whose_policy_was_revoked(world: World) -> None:
    relay = await pushed(world)
    await revoke(world)
    await settled(world, relay)
    await world.care.disclosure.keep_house()
    await settled(world, relay)
    assert "disclosure-answer" not in relay.purposes
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()


@pytest.mark.parametrize(("seconds", "minutes", "stands"), [(2, 5, 300), (0, 1, 60), (120, 5, 600)])
def test_a_release_stands_no_shorter_than_answers_wait(seconds: float, minutes: float, stands: float) -> None:
    settings = DisclosureSettings(answer_seconds=seconds, stands_minutes=minutes)
    assert settings.stands == timedelta(seconds=stands)
