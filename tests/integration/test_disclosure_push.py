"""Pushed releases: offered, shown whom is meant, sent, changed and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from agency_node.disclosure.messages import PushEvidence
from agency_node.subjects import SubjectId
from policies.ids import Hash256
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Link, LinkEvent, LinkEventKind, Strength
from protos.wire.relay import IncomingMessage, ToAgency
from tests.simulator.disclosure_nodes import (
    EPOCH,
    HANDLE_AT_CARE,
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    TOKEN,
    World,
    make_world,
    record,
)
from tests.simulator.policies import CARE, LINKAGE, NOW, POLICE, sampled

PRIVACY = ("care.privacy", "privacy_officer")
TOKEN_AT_CARE = b"T" * 16


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def told(world: World) -> None:
    """The broker tells social care of the link, as a policy with both sides would have it."""
    link = Link(
        TOKEN_AT_CARE, HANDLE_AT_CARE, LINKAGE, EPOCH, Strength.STRONG, POLICE,
        world.policy_hash, world.clock.now + timedelta(days=30),
    )  # fmt: skip
    await world.care.disclosure.context.links.take([LinkEvent(1, LinkEventKind.TOLD, link)], LINKAGE)
    world.handle_at = {TOKEN_AT_CARE: b"p" * 16}


async def test_a_told_link_pushes_what_the_policy_lets_be_pushed(world: World) -> None:
    await told(world)
    await world.care.disclosure.keep_house()
    await world.deliver()
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    fields = {(item.record_type, name, value) for item in items for name, value in item.fields.items()}
    assert fields == {
        ("link", "exists", "yes"),
        ("link", "agency_name", "Testshire care"),
        ("risk_assessment", "risk_band", "high"),
        ("risk_assessment", "last_contact_month", "2026-01"),
    }
    assert "receipt-received" in await world.care.actions()
    (body,) = await world.care.bodies("disclosure-released")
    assert body["pushed"] is True and body["clauses"] == [1, 2]
    assert (await world.police.actions()) == ["disclosure-received", "receipt-sent"]


async def test_a_link_told_before_its_policy_counts_here_is_looked_at_when_it_does(tmp_path: Path) -> None:
    policy = sampled(0)
    world = await make_world(tmp_path, policy=replace(policy, not_before=NOW + timedelta(minutes=10)))
    await told(world)
    for minutes, shown in ((1, False), (8, False), (2, True)):
        world.clock.advance(minutes=minutes)
        await world.refresh_status()
        await world.care.disclosure.keep_house()
        await world.deliver()
        assert bool(await world.police.disclosure.picture(SUSAN_AT_POLICE)) is shown
    await world.close()


async def test_pushed_once_and_again_when_a_record_changes(world: World) -> None:
    await told(world)
    for _ in range(2):
        await world.care.disclosure.keep_house()
        await world.deliver()
        world.clock.advance(minutes=61)
        await world.refresh_status()
    assert (await world.care.actions()).count("disclosure-released") == 1
    world.care.records.records[SUSAN_AT_CARE] = [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="standard", consent="given")
    ]
    await world.care.disclosure.keep_house()
    await world.deliver()
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert [item.fields["risk_band"] for item in items if "risk_band" in item.fields] == ["standard"]
    assert "purged" in await world.police.actions()


async def test_what_is_marked_later_is_taken_back_at_the_next_look(world: World) -> None:
    await told(world)
    await world.care.disclosure.keep_house()
    await world.deliver()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE)
    held = world.care.records.records[SUSAN_AT_CARE]
    world.care.records.records[SUSAN_AT_CARE] = [
        replace(item, markers=item.markers | {"refuge"}) for item in held
    ]
    world.clock.advance(minutes=61)
    await world.refresh_status()
    await world.care.disclosure.keep_house()
    await world.deliver()
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert {item.record_type for item in items} == {"link"}
    assert (await world.care.actions()).count("withdrawn") == 1
    world.care.records.records[SUSAN_AT_CARE] = held
    world.clock.advance(minutes=61)
    await world.refresh_status()
    await world.care.disclosure.keep_house()
    await world.deliver()
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert {item.record_type for item in items} == {"link", "risk_assessment"}


async def somebody_else_linked(world: World) -> SubjectId:
    """Another subject of the police, with a link to social care of her own."""
    other = SubjectId("NOM-9")
    karen = {"given_names": "KAREN", "family_name": "MARSDEN", "birth_year": "1990"}
    world.police.records.add(other, karen, [])
    async with world.police.store.transaction() as tx:
        await tx.handles.add(LINKAGE, {other: b"k" * 16})
        known = await tx.links.by_token(TOKEN.raw)
        assert known is not None
        await tx.links.put([replace(known, token=b"k" * 16, handle=b"k" * 16)])
    return other


async def test_nothing_is_pushed_to_whom_the_broker_swaps_in(world: World) -> None:
    """The police mean somebody else by the handle that the broker puts in place of the link's."""
    other = SubjectId("NOM-9")
    world.police.records.add(
        other, {"given_names": "KAREN", "family_name": "MARSDEN", "birth_year": "1990"}, []
    )
    async with world.police.store.transaction() as tx:
        await tx.handles.add(LINKAGE, {other: b"k" * 16})
        known = await tx.links.by_token(TOKEN.raw)
        assert known is not None
        await tx.links.put([replace(known, token=b"k" * 16, handle=b"k" * 16)])
    await told(world)
    world.handle_at = {TOKEN_AT_CARE: b"k" * 16}
    for _ in range(3):
        await world.care.disclosure.keep_house()
        await world.deliver()
        world.clock.advance(minutes=61)
        await world.refresh_status()
    assert "disclosure-released" not in await world.care.actions()
    (refused,) = await world.care.bodies("disclosure-refused")
    assert refused["code"] == "identity_not_confirmed"
    assert [item.kind for item in await world.care.disclosure.list_supervision()] == ["identity"]
    world.handle_at = {TOKEN_AT_CARE: b"p" * 16}
    world.clock.advance(days=1)
    await world.refresh_status()
    await world.care.disclosure.keep_house()
    await world.deliver()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert await world.police.disclosure.picture(other) == ()


async def test_a_push_that_the_broker_redirects_on_its_way_is_not_kept(world: World) -> None:
    other = SubjectId("NOM-9")
    world.police.records.add(
        other, {"given_names": "KAREN", "family_name": "MARSDEN", "birth_year": "1990"}, []
    )
    async with world.police.store.transaction() as tx:
        await tx.handles.add(LINKAGE, {other: b"k" * 16})
        known = await tx.links.by_token(TOKEN.raw)
        assert known is not None
        await tx.links.put([replace(known, token=b"k" * 16, handle=b"k" * 16)])
    await told(world)

    def redirect(message: IncomingMessage) -> IncomingMessage:
        if message.purpose != "disclosure-answer" or message.link is None:
            return message
        return replace(message, link=replace(message.link, handle=b"k" * 16))

    await world.care.disclosure.keep_house()
    await world.deliver(redirect)
    assert "disclosure-released" in await world.care.actions()
    assert await world.police.disclosure.picture(other) == ()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    (body,) = await world.police.bodies("identity-refused")
    assert body["purpose"] == "disclosure-answer"


async def test_evidence_that_answers_no_offer_pushes_nothing(world: World) -> None:
    await told(world)
    await world.care.disclosure.keep_house()
    (offer,) = [item for item in await world.care.queued() if item.purpose == "push-offer"]
    await world.deliver(lambda message: None if message.purpose == "push-evidence" else message)
    world.clock.advance(minutes=61)
    await world.refresh_status()
    await world.care.disclosure.keep_house()
    assert "push-offer" not in [item.purpose for item in await world.care.queued()], offer.message_id
    given = PushEvidence(Hash256("ab" * 32), POLICE, (), world.clock.now)
    ctx = world.police.disclosure.context
    async with world.police.store.transaction() as tx:
        await ctx.mailbox.post(tx, ToAgency(CARE), CARE, "push-evidence", ctx.signed(given))
    await world.deliver()
    assert "disclosure-released" not in await world.care.actions()
    (body,) = await world.care.bodies("identity-refused")
    assert (body["purpose"], body["code"]) == ("push-evidence", str(ErrorCode.REQUEST_UNKNOWN))


async def test_what_was_pushed_is_sampled_and_can_be_taken_back() -> None:
    world = await make_world(policy=sampled(100))
    await told(world)
    await world.care.disclosure.keep_house()
    await world.deliver()
    (body,) = await world.care.bodies("disclosure-released")
    release = str(body["release"])
    (item,) = await world.care.disclosure.list_supervision()
    assert (item.kind, item.request_id, item.officer) == ("sample", release, "")
    await world.order(world.care, "sign-off", item.item_id, *PRIVACY)
    outcome = await world.order(world.care, "recall-release", release, *PRIVACY, about="false_link")
    assert outcome == "Taken back: police is told."
    await world.deliver()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    assert "purged" in await world.police.actions() and "erased" in await world.care.actions()
    with pytest.raises(RefusedError, match="nothing is released"):
        await world.order(world.care, "recall-release", release, *PRIVACY)
    world.clock.advance(minutes=61)
    await world.care.disclosure.keep_house()
    assert (await world.care.actions()).count("disclosure-released") == 1
    await world.close()


async def test_a_pushed_release_waits_until_its_link_is_told(world: World) -> None:
    await told(world)
    async with world.police.store.transaction() as tx:
        await tx.links.recall([TOKEN.raw])
    await world.care.disclosure.keep_house()
    await world.deliver()
    assert await world.police.actions() == []
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
