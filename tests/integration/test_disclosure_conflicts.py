"""Conflicts of interest: who declares them, what they stop, and that nobody undoes them unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agency_node.disclosure.records import Holding
from agency_node.rpc.ports import OrderDraft
from agency_node.subjects import SubjectId
from crypto.envelope import sign_envelope
from policies.agreement import SubjectType
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.disclosure_nodes import (
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    World,
    make_world,
)
from tests.simulator.policies import key_of

PRIVACY = ("care.privacy", "privacy_officer")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def test_the_requester_refuses_an_officer_with_a_conflict(world: World) -> None:
    await world.order(
        world.police, "declare-conflict", "police.investigator", "police.investigator", "investigator",
        about=SUSAN_AT_POLICE,
    )  # fmt: skip
    with pytest.raises(RefusedError) as refused:
        await world.ask()
    assert refused.value.code is ErrorCode.CONFLICT_OF_INTEREST
    (body,) = await world.police.bodies("disclosure-refused")
    assert body["code"] == "conflict_of_interest" and await world.police.queued() == ()
    assert [item.kind for item in await world.police.disclosure.list_supervision()] == [
        "conflict-of-interest"
    ]
    with pytest.raises(RefusedError):  # nobody lifts their own
        await world.order(
            world.police, "lift-conflict", "police.investigator", "police.investigator", "investigator",
            about=SUSAN_AT_POLICE,
        )  # fmt: skip
    await world.order(
        world.police, "lift-conflict", "police.investigator", "police.privacy", "privacy_officer",
        about=SUSAN_AT_POLICE,
    )  # fmt: skip
    assert await world.police.disclosure.list_conflicts() == []
    await world.ask()


async def test_the_provider_refuses_and_does_not_say_that_it_knows(world: World) -> None:
    await world.order(world.care, "declare-conflict", "police.investigator", *PRIVACY, about=SUSAN_AT_CARE)
    request_id = await world.ask()
    await world.deliver()
    told = (await world.police.disclosure.get_request(request_id)).refusal
    assert told.startswith("not_available") and "conflict" not in told
    held = (await world.care.disclosure.get_request(request_id)).refusal
    assert held.startswith("conflict_of_interest")
    (body,) = await world.care.bodies("disclosure-refused")
    assert (body["code"], body["alarm"]) == ("conflict_of_interest", "conflict-of-interest")
    (listed,) = await world.care.disclosure.list_conflicts()
    assert (listed.officer, listed.subject_id) == ("police.investigator", SUSAN_AT_CARE)


async def test_an_officer_barred_altogether_is_told_so(world: World) -> None:
    await world.order(world.care, "declare-conflict", "police.investigator", *PRIVACY)
    request_id = await world.ask()
    await world.deliver()
    told = (await world.police.disclosure.get_request(request_id)).refusal
    assert told.startswith("conflict_of_interest")


async def test_an_approver_with_a_conflict_does_not_count(world: World) -> None:
    await world.order(world.care, "declare-conflict", "care.approver", *PRIVACY, about=SUSAN_AT_CARE)
    request_id = await world.ask(tier=2)
    await world.deliver()
    with pytest.raises(RefusedError) as refused:
        await world.approve(request_id, world.care, "care.approver", "approver")
    assert refused.value.code is ErrorCode.CONFLICT_OF_INTEREST


DECLARED_BY = {
    "an overseer, about another agency's officer": ("police.investigator", PRIVACY),
    "the officer": ("care.investigator", ("care.investigator", "investigator")),
}


@pytest.mark.parametrize("case", DECLARED_BY)
@pytest.mark.parametrize("subject", ["SC-44", "sc-4", SUSAN_AT_POLICE])
async def test_a_conflict_about_a_number_that_is_not_held_is_refused(
    world: World, case: str, subject: str
) -> None:
    whose, by = DECLARED_BY[case]
    with pytest.raises(RefusedError, match="no person and no place of this number") as refused:
        await world.order(world.care, "declare-conflict", whose, *by, about=subject)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert await world.care.disclosure.list_conflicts() == []
    assert "order-given" not in await world.care.actions()


@pytest.mark.parametrize("about", ["", SUSAN_AT_CARE])
async def test_a_conflict_of_an_officer_whom_nobody_lists_is_refused(world: World, about: str) -> None:
    with pytest.raises(RefusedError, match="no officer of this id, at any agency") as refused:
        await world.order(world.care, "declare-conflict", "police.investigater", *PRIVACY, about=about)
    assert refused.value.code is ErrorCode.INVALID_ARGUMENT
    assert await world.care.disclosure.list_conflicts() == []


async def test_what_was_signed_is_looked_up_again_before_it_is_done(world: World) -> None:
    draft = OrderDraft("declare-conflict", "police.investigator", SUSAN_AT_CARE, "It is right.", *PRIVACY)
    prepared = await world.care.disclosure.prepare_order(draft)
    world.care.records.subjects.clear()
    signed = sign_envelope(prepared.payload_type, prepared.payload, [key_of("care.privacy")])
    with pytest.raises(RefusedError, match="no person and no place"):
        await world.care.disclosure.submit_order(signed.to_bytes())


async def test_a_conflict_about_a_place(world: World) -> None:
    place, numbers = SubjectId("HOUSE-9"), world.care.records
    numbers.add(place, {"postcode": "NM12AB"}, [])
    numbers.subjects[place] = replace(numbers.subjects[place], subject_type="place")
    await world.order(world.care, "declare-conflict", "police.investigator", *PRIVACY, about=place)
    (listed,) = await world.care.disclosure.list_conflicts()
    assert listed.subject_id == place


async def test_a_source_is_read_with_no_transaction_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = world.care.records.holding

    async def holding(subject: SubjectId, kind: SubjectType) -> Holding | None:
        async with asyncio.timeout(5), world.care.store.transaction():
            return await read(subject, kind)

    monkeypatch.setattr(world.care.records, "holding", holding)
    await world.order(world.care, "declare-conflict", "police.investigator", *PRIVACY, about=SUSAN_AT_CARE)
    assert len(await world.care.disclosure.list_conflicts()) == 1


async def test_a_conflict_is_lifted_after_its_subject_and_officer_have_gone(world: World) -> None:
    registry = world.registries.registry
    about = ("police.investigator", *PRIVACY)
    await world.order(world.care, "declare-conflict", *about, about=SUSAN_AT_CARE)
    world.care.records.subjects.clear()
    kept = tuple(item for item in registry.officers if item.person != "police.investigator")
    world.registries.registry = replace(registry, officers=kept)
    await world.order(world.care, "lift-conflict", *about, about=SUSAN_AT_CARE)
    assert await world.care.disclosure.list_conflicts() == []


async def test_nobody_writes_over_what_an_overseer_declared(world: World) -> None:
    about, whom = SUSAN_AT_CARE, "care.approver"
    why = ("Under investigation for stalking her.", "Former neighbour.")
    await world.order(world.care, "declare-conflict", whom, *PRIVACY, about=about, reason=why[0])
    await world.order(world.care, "declare-conflict", whom, whom, "approver", about=about, reason=why[1])
    listed = await world.care.disclosure.list_conflicts()
    assert tuple(item.reason for item in listed) == why
    await world.order(world.care, "lift-conflict", whom, *PRIVACY, about=about)
    assert await world.care.disclosure.list_conflicts() == []


async def test_each_order_acts_once(world: World) -> None:
    """An old order to lift a conflict does not undo a newer declaration, whatever the time between."""
    declare = ("declare-conflict", "care.approver", *PRIVACY, SUSAN_AT_CARE)
    await world.order(world.care, *declare)
    lift = await world.signed_order(
        world.care, "lift-conflict", "care.approver", *PRIVACY, about=SUSAN_AT_CARE
    )
    await world.care.disclosure.submit_order(lift)
    await world.order(world.care, *declare)
    world.clock.advance(minutes=10)
    with pytest.raises(RefusedError) as refused:
        await world.care.disclosure.submit_order(lift)
    assert refused.value.code is ErrorCode.REQUEST_REPLAYED
    assert len(await world.care.disclosure.list_conflicts()) == 1
    world.clock.advance(days=2)
    await world.order(world.care, "lift-conflict", "care.approver", *PRIVACY, about=SUSAN_AT_CARE)
    with pytest.raises(RefusedError, match="too old"):
        await world.care.disclosure.submit_order(lift)


async def test_an_order_that_was_refused_may_be_given_again(world: World) -> None:
    lift = await world.signed_order(
        world.care, "lift-conflict", "care.approver", *PRIVACY, about=SUSAN_AT_CARE
    )
    with pytest.raises(RefusedError, match="no such conflict"):
        await world.care.disclosure.submit_order(lift)
    await world.order(world.care, "declare-conflict", "care.approver", *PRIVACY, about=SUSAN_AT_CARE)
    assert await world.care.disclosure.submit_order(lift) == "The conflict of interest is off the list."
