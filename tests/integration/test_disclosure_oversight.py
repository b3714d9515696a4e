"""Withdrawing, correcting, subjects' rights, conflicts of interest, supervision and pushed releases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest

from agency_node.disclosure.messages import PushEvidence
from agency_node.disclosure.records import Holding
from agency_node.rpc.ports import EmergencyClaim, OrderDraft
from agency_node.subjects import SubjectId
from crypto.audit import AuditAction
from crypto.envelope import sign_envelope
from policies.agreement import SubjectType
from policies.disclosure import BreakGlass
from policies.ids import Hash256, Line, Prose
from policies.sharing import SharingPolicy
from policies.vocabulary import OfficerRole
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Link, LinkEvent, LinkEventKind, Strength
from protos.wire.relay import IncomingMessage, ToAgency
from tests.integration.test_disclosure_flow import values
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
from tests.simulator.policies import CARE, LINKAGE, POLICE, key_of, officer, sample_policy

PRIVACY = ("care.privacy", "privacy_officer")
TOKEN_AT_CARE = b"T" * 16


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world(policy=sampled(0))
    yield made
    await made.close()


def sampled(percent: int) -> SharingPolicy:
    return sample_policy(safeguards=replace(sample_policy().safeguards, review_sample_percent=percent))


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
    assert entry.exemptions == (
        "law enforcement processing (Part 3 DPA 2018): could telling prejudice an inquiry?",
    )


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


# -- conflicts of interest


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


# -- pushing


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
