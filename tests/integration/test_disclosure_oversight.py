"""Withdrawing, correcting, subjects' rights, supervision and break-glass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest

from agency_node.rpc.ports import EmergencyClaim
from crypto.audit import AuditAction
from policies.disclosure import BreakGlass
from policies.ids import Line, Prose
from policies.vocabulary import OfficerRole
from protos.wire.errors import ErrorCode, RefusedError
from tests.integration.test_disclosure_flow import values
from tests.simulator.disclosure_nodes import (
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    World,
    make_world,
    record,
)
from tests.simulator.policies import POLICE, officer, sample_policy, sampled

PRIVACY = ("care.privacy", "privacy_officer")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def state(world: World, request_id: str) -> str:
    return (await world.police.disclosure.get_request(request_id)).summary.state


# -- withdrawing and expiry


async def test_a_waiting_request_is_withdrawn_on_both_sides(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    outcome = await world.order(
        world.police, "withdraw-request", request_id, "police.investigator", "investigator"
    )
    assert outcome == "Withdrawn: care is told."
    await world.deliver()
    held = await world.care.disclosure.get_request(request_id)
    assert (held.summary.state, held.refusal.split(":")[0]) == ("withdrawn", "request_withdrawn")
    assert await state(world, request_id) == "withdrawn"
    with pytest.raises(RefusedError):
        await world.approve(request_id, world.care, "care.approver", "approver")
    assert "disclosure-released" not in await world.care.actions()
    assert "identity-refused" not in await world.police.actions()


async def test_a_release_that_crossed_a_withdrawal_is_purged(world: World) -> None:
    request_id = await world.ask()
    await world.order(world.police, "withdraw-request", request_id, "police.investigator", "investigator")
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "withdrawn" and detail.release == b""
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    assert "erased" in await world.care.actions()


async def test_who_may_withdraw(world: World) -> None:
    request_id = await world.ask(tier=2)
    for person, role, code in (
        ("police.approver", "approver", ErrorCode.NOT_ALLOWED),
        ("police.investigator", "siro", ErrorCode.OFFICER_UNKNOWN),
        ("care.investigator", "investigator", ErrorCode.OFFICER_UNKNOWN),
    ):
        with pytest.raises(RefusedError) as refused:
            await world.order(world.police, "withdraw-request", request_id, person, role)
        assert refused.value.code is code
    assert await state(world, request_id) == "sent"


async def test_a_request_that_nobody_answered_expires_on_record(world: World) -> None:
    request_id = await world.ask()
    world.clock.advance(days=8)
    await world.police.disclosure.keep_house()
    assert await state(world, request_id) == "expired"
    assert "request-expired" in await world.police.actions()


# -- correcting


async def test_a_corrected_record_takes_the_place_of_the_wrong_one(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    world.care.records.records[SUSAN_AT_CARE] = [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="standard", consent="given")
    ]
    world.clock.advance(minutes=5)
    outcome = await world.order(world.care, "correct-release", request_id, *PRIVACY)
    assert outcome == "Corrected: police gets it anew."
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "released"
    shown = values(detail.release)
    assert ("risk_assessment", "risk_band", "standard") in shown and "high" not in repr(shown)
    assert len(await world.police.disclosure.picture(SUSAN_AT_POLICE)) == 2
    assert "erased" in await world.care.actions() and "identity-refused" not in await world.police.actions()


async def test_a_correction_with_nothing_left_only_takes_back(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    world.care.records.subjects.clear()
    outcome = await world.order(world.care, "correct-release", request_id, *PRIVACY)
    assert outcome.startswith("Taken back")
    await world.deliver()
    assert await state(world, request_id) == "recalled"


# -- subjects' rights


async def test_the_report_flags_what_must_be_weighed_before_the_subject_is_told(world: World) -> None:
    await world.ask()
    await world.deliver()
    (entry,) = await world.care.disclosure.about_subject(SUSAN_AT_CARE)
    assert entry.particulars["clauses"] == [1, 2]
    assert PART3 in entry.exemptions


PART3 = "law enforcement processing (Part 3 DPA 2018): could telling prejudice an inquiry?"


async def test_no_entry_of_an_exchange_with_the_police_goes_out_unweighed(world: World) -> None:
    """Approvals, recalls and purges name no agency: that there are any tells that somebody looked."""
    for end in ("withdraw", "recall"):
        request_id = await world.ask(tier=2)
        await world.deliver()
        if end == "withdraw":
            await world.order(
                world.police, "withdraw-request", request_id, "police.investigator", "investigator"
            )
        else:
            await world.approve(request_id, world.care, "care.approver", "approver")
            await world.deliver()
            await world.order(world.care, "recall-release", request_id, *PRIVACY)
        await world.deliver()
    for node, subject, expected in (
        (world.care, SUSAN_AT_CARE, {"approval-given", "disclosure-released", "withdrawn"}),
        (
            world.police,
            SUSAN_AT_POLICE,
            {"disclosure-requested", "disclosure-received", "withdrawn", "purged"},
        ),
    ):
        report = await node.disclosure.about_subject(subject)
        assert expected <= {entry.action.value for entry in report}
        assert [entry.action.value for entry in report if PART3 not in entry.exemptions] == []


async def test_agencies_that_the_policy_does_not_know_are_weighed(world: World) -> None:
    bodies: tuple[dict[str, str], ...] = (
        {"requester": "elsewhere"},
        {"provider": "care"},
        {"requester": "nhs"},
        {},
    )
    async with world.care.store.transaction() as tx:
        for body in bodies:
            await world.care.log.append(
                tx, AuditAction.DISCLOSURE_RELEASED, actor="x", body=body, subject=SUSAN_AT_CARE,
                policy=world.policy_hash,
            )  # fmt: skip
    report = await world.care.disclosure.about_subject(SUSAN_AT_CARE)
    assert [PART3 in entry.exemptions for entry in report] == [True, True, False, True]
    assert "no party" in report[0].exemptions[0]


async def test_erasing_a_subject_propagates_and_proofs_stay_valid(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    outcome = await world.order(world.care, "erase-subject", SUSAN_AT_CARE, *PRIVACY)
    assert "1 requests" in outcome and "1 releases given are recalled" in outcome
    await world.deliver()
    assert await state(world, request_id) == "recalled"
    assert (await world.police.disclosure.get_request(request_id)).release == b""
    assert await world.care.disclosure.about_subject(SUSAN_AT_CARE) == ()
    (purged,) = await world.police.bodies("purged")
    assert purged["reason"] == "subject_right"
    async with world.care.store.transaction() as tx:
        size = await world.care.log.size(tx)
        assert await world.care.log.inclusion(tx, 0, size)
        opened = [item.details async for item in world.care.log.read(tx)]
        held = [item.wrapped for item in await tx.requests.listed()]
    assert held == [None] and SUSAN_AT_CARE not in repr([item.body for item in opened if item])
    with pytest.raises(RefusedError, match="nothing is held"):
        await world.order(world.care, "erase-subject", SUSAN_AT_CARE, *PRIVACY)


async def test_nothing_is_erased_while_it_must_be_decided_or_reviewed(world: World) -> None:
    await world.ask(tier=2)
    await world.deliver()
    with pytest.raises(RefusedError, match="is open"):
        await world.order(world.care, "erase-subject", SUSAN_AT_CARE, *PRIVACY)
    with pytest.raises(RefusedError) as refused:
        await world.order(world.care, "erase-subject", SUSAN_AT_CARE, "care.approver", "approver")
    assert refused.value.code is ErrorCode.NOT_ALLOWED


@pytest.mark.parametrize("node", ["care", "police"])
async def test_erasure_destroys_what_overseers_wrote_about_the_subject(world: World, node: str) -> None:
    reason = "He looked up SUSAN MARSDEN of NM1 2AB, his former wife."
    here, subject = (world.care, SUSAN_AT_CARE) if node == "care" else (world.police, SUSAN_AT_POLICE)
    privacy = (f"{node}.privacy", "privacy_officer")
    for _ in range(8):
        await world.ask(tier=0)
    await world.deliver()
    (item,) = await here.disclosure.list_supervision()
    await world.order(here, "sign-off", item.item_id, *privacy, reason=reason)
    await world.order(here, "declare-conflict", "care.approver", *privacy, about=subject, reason=reason)
    await world.order(here, "declare-conflict", "police.approver", *privacy, reason=reason)
    given = await here.bodies("order-given")
    assert [body.get("reason") for body in given] == [reason, reason, None]
    assert [body["alarm"] for body in await here.bodies("misuse-suspected")] == ["many-requests"]
    await world.order(here, "erase-subject", subject, *privacy, reason=reason)
    async with here.store.transaction() as tx:
        opened = [entry.details async for entry in here.log.read(tx)]
    assert "SUSAN" not in repr([details.body for details in opened if details])
    assert await here.bodies("misuse-suspected") == []
    assert "misuse-suspected" in await here.actions()
    assert await here.disclosure.about_subject(subject) == ()


async def test_what_is_signed_off_after_the_erasure_keeps_no_reason() -> None:
    world = await make_world(policy=sampled(100))
    await world.ask()
    await world.deliver()
    await world.order(world.care, "erase-subject", SUSAN_AT_CARE, *PRIVACY)
    (item,) = await world.care.disclosure.list_supervision()
    await world.order(world.care, "sign-off", item.item_id, *PRIVACY, reason="It was Susan.")
    assert await world.care.disclosure.list_supervision() == ()
    assert "Susan" not in repr(await world.care.bodies("order-given"))
    await world.close()


# -- supervision


@pytest.mark.parametrize("percent", [0, 100])
async def test_automatic_releases_are_sampled_and_signed_off(percent: int) -> None:
    world = await make_world(policy=sampled(percent))
    await world.ask()
    await world.deliver()
    for node, person in ((world.care, "care.privacy"), (world.police, "police.privacy")):
        queue = await node.disclosure.list_supervision()
        assert [item.kind for item in queue] == ["sample"] * (percent // 100)
        for item in queue:
            await world.order(node, "sign-off", item.item_id, person, "privacy_officer")
            with pytest.raises(RefusedError):
                await world.order(node, "sign-off", item.item_id, person, "privacy_officer")
        assert await node.disclosure.list_supervision() == ()
    await world.close()


async def test_unusual_numbers_raise_one_alarm_a_day_on_both_sides(world: World) -> None:
    for _ in range(8):
        await world.ask(tier=0)
    await world.deliver()
    for node in (world.care, world.police):
        queue = await node.disclosure.list_supervision()
        assert [(item.kind, item.officer) for item in queue] == [("many-requests", "police.investigator")]
        assert (await node.actions()).count("misuse-suspected") == 1


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"requests_per_hour": 3, "requests_per_day": 50}, ["many-requests"]),
        ({"requests_per_hour": 50, "requests_per_day": 3}, ["many-requests"]),
        ({"requests_per_hour": 4, "requests_per_day": 4}, []),
    ],
)
async def test_the_policy_alone_sets_the_alarms(changes: dict[str, int], kinds: list[str]) -> None:
    limits = sampled(0).safeguards
    policy = sample_policy(safeguards=replace(limits, alarms=replace(limits.alarms, **changes)))
    world = await make_world(policy=policy)
    for _ in range(4):
        await world.ask(tier=0)
    await world.deliver()
    for node in (world.care, world.police):
        assert [item.kind for item in await node.disclosure.list_supervision()] == kinds
        assert not any(item.name.startswith("alarm") for item in fields(node.disclosure.context.settings))
    await world.close()


async def test_what_an_officer_usually_asks_is_not_unusual(world: World) -> None:
    """Three times the mean of four weeks: somebody who asks two things a day may ask six, and not seven."""
    for _ in range(28):
        for _ in range(2):
            await world.ask(tier=0)
        world.clock.advance(days=1)
        await world.refresh_status()
    for number, alarms in ((6, 0), (1, 1)):
        for _ in range(number):
            await world.ask(tier=0)
            world.clock.advance(minutes=70)
            await world.refresh_status()
        queue = await world.police.disclosure.list_supervision()
        assert [item.kind for item in queue] == ["many-requests"] * alarms


async def test_many_officers_about_one_subject(world: World) -> None:
    registry = world.registries.registry
    names = [f"police.investigator{number}" for number in range(4)]
    more = tuple(officer(name, POLICE, OfficerRole.INVESTIGATOR) for name in names)
    world.registries.registry = replace(registry, officers=(*registry.officers, *more))
    for name in names:
        await world.ask(tier=0, officer=name)
    await world.deliver()
    kinds = [item.kind for item in await world.care.disclosure.list_supervision()]
    assert kinds == ["many-officers"]


# -- break-glass


async def test_both_privacy_officers_have_it_in_their_queue(world: World) -> None:
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=2, break_glass=claim)
    await world.deliver()
    for node, direction in ((world.police, "made"), (world.care, "received")):
        (item,) = await node.disclosure.list_emergencies()
        assert (item.request_id, item.direction, item.overdue) == (request_id, direction, False)
        assert item.explanation == "He is at the door." and "door" not in repr(item)
    world.clock.advance(hours=25)
    assert [item.overdue for item in await world.police.disclosure.list_emergencies()] == [True]


@pytest.mark.parametrize(
    ("reason", "changes", "words"),
    [
        ("curious", {}, "threat to life"),
        ("threat to life", {"role": "approver", "officer": "police.approver"}, "no clause"),
    ],
)
async def test_break_glass_that_the_policy_does_not_know(
    world: World, reason: str, changes: dict[str, Any], words: str
) -> None:
    draft = replace(world.draft(tier=2), break_glass=EmergencyClaim(reason, "Now."), **changes)
    with pytest.raises(RefusedError, match=words) as refused:
        await world.police.disclosure.prepare_request(draft)
    assert refused.value.code is ErrorCode.REQUEST_INVALID
