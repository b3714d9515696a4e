"""A disclosure from question to erasure between two nodes, with real stores, keys, policies and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from agency_node.disclosure.messages import SIZE_CLASSES
from agency_node.disclosure.witnessing import WitnessRequest
from crypto.canonical import JsonValue, parse_canonical
from crypto.checkpoint import Checkpoint, sign_checkpoint
from policies.disclosure import BreakGlass
from policies.ids import FieldValue, Line, Prose
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.relay import ToAgency
from tests.simulator.disclosure_nodes import (
    DECOY_AT_CARE,
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    World,
    make_world,
)
from tests.simulator.policies import CARE, POLICE, key_of


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


def values(release: bytes) -> set[tuple[str, str, str]]:
    """(record type, field, value) of everything in a release."""
    document = parse_canonical(release)
    assert isinstance(document, dict)
    records: JsonValue = document["records"]
    assert isinstance(records, list)
    found = set()
    for item in records:
        assert isinstance(item, dict) and isinstance(item["fields"], dict)
        found |= {(str(item["record_type"]), name, str(value)) for name, value in item["fields"].items()}
    return found


async def test_automatic_tiers_are_released_received_and_receipted(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "released"
    assert values(detail.release) == {
        ("link", "exists", "yes"),
        ("link", "agency_name", "Testshire care"),
        ("risk_assessment", "risk_band", "high"),
        ("risk_assessment", "last_contact_month", "2026-01"),
    }
    assert await world.care.actions() == [
        "disclosure-decided",
        "disclosure-released",
        "receipt-received",
    ]
    assert await world.police.actions() == [
        "disclosure-requested",
        "disclosure-received",
        "receipt-sent",
    ]


async def test_a_summary_waits_for_one_approval_and_shows_what_is_withheld(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    waiting = (await world.care.disclosure.get_request(request_id)).summary
    assert (waiting.state, waiting.approvals, waiting.approvals_needed) == ("waiting", 0, 1)
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "sent"
    assert await world.approve(request_id, world.care, "care.approver", "approver") == "released"
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    shown = values(detail.release)
    assert ("incident", "summary", "Neighbour heard shouting.") in shown
    text = repr(shown) + repr(detail.outcomes)
    assert "Hidden" not in text and "counsel" not in text and "safe address" not in text
    withheld = [item for item in detail.outcomes if item.outcome == "withhold"]
    assert [(item.field, item.clauses) for item in withheld] == [("summary", (5,))]


async def test_four_eyes_need_one_from_the_provider(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    assert (await world.care.disclosure.get_request(request_id)).summary.approvals_needed == 2
    assert await world.approve(request_id, world.police, "police.approver", "approver") == "sent"
    await world.deliver()
    assert (await world.care.disclosure.get_request(request_id)).summary.state == "waiting"
    assert await world.approve(request_id, world.care, "care.approver", "approver") == "released"
    await world.deliver()
    release = (await world.police.disclosure.get_request(request_id)).release
    assert ("incident", "notes", "In full.") in values(release)


async def test_two_approvals_of_the_recipient_are_not_four_eyes(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.police, "police.approver", "approver")
    await world.approve(request_id, world.police, "police.siro", "siro")
    await world.deliver()
    assert (await world.care.disclosure.get_request(request_id)).summary.state == "waiting"


async def test_a_rejection_refuses(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    assert await world.approve(request_id, world.care, "care.approver", "approver", "reject") == "refused"
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "refused" and detail.refusal.startswith("not_permitted")


async def test_nobody_approves_twice_or_without_the_role(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.care, "care.approver", "approver")
    for officer, role in (("care.approver", "approver"), ("care.investigator", "investigator")):
        with pytest.raises(RefusedError) as refused:
            await world.approve(request_id, world.care, officer, role)
        assert refused.value.code is ErrorCode.APPROVAL_REFUSED


async def test_the_picture_is_a_timeline_with_what_was_withheld(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    await world.approve(request_id, world.care, "care.approver", "approver")
    await world.deliver()
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert {item.agency_id for item in items} == {"care"} and all(
        item.request_id == request_id for item in items
    )
    assert [item.occurred for item in items] == sorted(item.occurred for item in items)
    assert [line for item in items for line in item.withheld] == ["summary: withheld by clause 5"]
    own = await world.care.disclosure.picture(SUSAN_AT_CARE)
    assert [item.occurred for item in own] == sorted(item.occurred for item in own) and len(own) == 5


async def test_purged_when_its_time_is_up_with_a_receipt(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    world.clock.advance(days=world.policy.obligations.retention_days)
    registry = world.registries.registry
    world.registries.registry = replace(registry, expires=world.clock.now + timedelta(days=30))
    await world.police.disclosure.keep_house()
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "purged" and detail.release == b""
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    assert "purged" in await world.police.actions() and "erased" in await world.care.actions()


async def test_purged_in_time_even_when_nobody_can_be_told(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    world.clock.advance(days=world.policy.obligations.retention_days)
    with pytest.raises(RefusedError):  # the registry has expired: no head can be shown to witnesses
        await world.police.disclosure.keep_house()
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "purged"


async def test_a_recall_purges_at_once(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    await world.order(world.care, "recall-release", request_id, "care.privacy", "privacy_officer")
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "recalled" and detail.release == b""
    assert "erased" in await world.care.actions()


async def test_break_glass_waives_approvals_is_told_and_must_be_reviewed(world: World) -> None:
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=2, break_glass=claim)
    await world.deliver()
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "released"
    assert "break-glass-invoked" in await world.care.actions()
    assert (await world.police.actions()).count("break-glass-invoked") == 1
    world.clock.advance(hours=25)
    await world.refresh_status()
    with pytest.raises(RefusedError, match="not reviewed in time"):
        await world.ask()
    await world.approve(request_id, world.police, "police.privacy", "privacy_officer")
    # The provider's own privacy officer has not reviewed it yet, so the provider still refuses.
    later = await world.ask()
    await world.deliver()
    assert (await world.police.disclosure.get_request(later)).refusal.startswith("not_permitted")
    await world.approve(request_id, world.care, "care.privacy", "privacy_officer")
    again = await world.ask()
    await world.deliver()
    assert (await world.police.disclosure.get_request(again)).summary.state == "released"
    assert "break-glass-reviewed" in await world.care.actions()


async def test_break_glass_never_opens_a_safe_address_or_a_withhold_clause(world: World) -> None:
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=3, break_glass=claim)
    await world.deliver()
    shown = repr(values((await world.police.disclosure.get_request(request_id)).release))
    assert "shouting" in shown and "Hidden" not in shown and "counsel" not in shown


async def test_who_saw_what_about_a_subject(world: World) -> None:
    await world.ask()
    await world.deliver()
    (entry,) = await world.care.disclosure.about_subject(SUSAN_AT_CARE)
    assert (entry.actor, entry.action.value) == ("police.investigator", "disclosure-released")
    assert entry.particulars["requester"] == "police" and entry.particulars["clauses"] == [1, 2]
    assert entry.particulars["fields"] == {
        "link": ["exists", "agency_name"],
        "risk_assessment": ["risk_band", "last_contact_month"],
    }


async def test_answers_have_one_of_a_few_sizes_and_leave_on_the_stroke() -> None:
    sizes = set()
    for handle in (None, DECOY_AT_CARE):
        world = await make_world(answer_seconds=2)
        if handle is not None:
            world.handle = handle
        await world.ask()
        await world.deliver()
        (item,) = await world.care.queued()
        sizes.add(len(item.sealed))
        async with world.care.store.transaction() as tx:
            assert await tx.outbox.due(world.clock.now + timedelta(seconds=1)) == ()
            assert len(await tx.outbox.due(world.clock.now + timedelta(seconds=2))) == 1
        await world.close()
    assert len(sizes) == 1 and min(sizes) > SIZE_CLASSES[0]


async def test_witnesses_cosign_and_never_a_fork(world: World) -> None:
    await world.ask()
    await world.deliver()
    assert await world.care.disclosure.ask_witnesses() == 3
    await world.deliver()
    async with world.care.store.transaction() as tx:
        note = await tx.audit.checkpoint()
    assert note is not None and b"testshire/agency/police/witness" in note
    await world.ask()
    await world.deliver()
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    async with world.police.store.transaction() as tx:
        seen = await tx.audit.witnessed(world.care.agency, "theirs")
    assert seen is not None and seen[0] == len(await world.care.actions())


async def show_head(world: World, note: str) -> None:
    """Social care's node shows the police a head without a proof."""
    async with world.care.store.transaction() as tx:
        request = world.care.disclosure.context.signed(WitnessRequest(FieldValue(note), ()))
        await world.care.mailbox.post(tx, ToAgency(POLICE), POLICE, "witness-request", request)
    await world.deliver()


@pytest.mark.parametrize(
    ("more", "reason"),
    [(0, "fork"), (5, "rewritten"), (-1, "shrunk")],
    ids=["fork", "rewrite", "wrong size"],
)
async def test_a_witness_refuses_a_log_that_was_rewritten(world: World, more: int, reason: str) -> None:
    """What an administrator of social care's node can do: sign other heads with the node's own key.

    Two heads of one size are an alarm at once; else one refusal may have an innocent reason, a second not.
    """
    await world.ask(tier=2)
    await world.deliver()
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    async with world.police.store.transaction() as tx:
        seen = await tx.audit.witnessed(CARE, "theirs")
    assert seen is not None
    head = Checkpoint(world.care.log.origin, seen[0] + more, bytes(32))
    note = sign_checkpoint(head, key_of("node care")).to_bytes().decode()
    for alarms in (1 if reason == "fork" else 0, 1):
        await show_head(world, note)
        assert len(await world.police.disclosure.list_supervision()) == alarms
    refused = await world.police.bodies("witness-refused")
    assert [(body["log"], body["reason"]) for body in refused] == [("care", reason)] * 2
    async with world.police.store.transaction() as tx:
        assert await tx.audit.witnessed(CARE, "theirs") == seen
    (item,) = await world.police.disclosure.list_supervision()
    assert (item.kind, str(item.peer)) == ("peer-log", "care")
    (evidence,) = await world.police.bodies("misuse-suspected")
    assert (evidence["reason"], evidence["later"]) == (reason, note)
    assert (await world.care.actions()).count("witness-refused") == 2


async def test_a_log_that_grows_and_is_rewritten_each_time_raises_an_alarm_a_day(world: World) -> None:
    await world.ask(tier=2)
    await world.deliver()
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    size = len(await world.care.actions())
    for day in range(3):
        for more in range(1, 11):
            head = Checkpoint(world.care.log.origin, size + 10 * day + more, bytes([more]) * 32)
            await show_head(world, sign_checkpoint(head, key_of("node care")).to_bytes().decode())
        assert len(await world.police.disclosure.list_supervision()) == day + 1
        world.clock.now += timedelta(days=1)
    # a sound head ends it: the next refusal is a first one again
    await world.care.disclosure.ask_witnesses()
    await world.deliver()
    head = Checkpoint(world.care.log.origin, size + 99, bytes(32))
    await show_head(world, sign_checkpoint(head, key_of("node care")).to_bytes().decode())
    assert len(await world.police.disclosure.list_supervision()) == 3


async def test_a_peer_that_shows_no_sound_head_for_days_raises_an_alarm(world: World) -> None:
    """Care shows its head once a day, grown or not; the two agencies without a node show none."""
    await world.ask()
    await world.deliver()
    silent: list[set[str]] = []
    for _ in range(7):
        for node in (world.care, world.police):
            await node.disclosure.ask_witnesses()
        await world.deliver()
        queue = await world.police.disclosure.list_supervision()
        assert {item.kind for item in queue} <= {"peer-log"}
        silent.append({str(item.peer) for item in queue})
        world.clock.now += timedelta(days=1)
    assert silent == [set()] * 5 + [{"nhs", "refuge"}] * 2
    assert {body["reason"] for body in await world.police.bodies("misuse-suspected")} == {"silent"}


async def test_an_unanswered_witness_is_asked_once_a_day(world: World) -> None:
    assert await world.care.disclosure.ask_witnesses() == 0  # nothing is in the log yet
    await world.ask()
    await world.deliver()
    assert await world.care.disclosure.ask_witnesses() == 3
    await world.ask()
    await world.deliver()
    assert await world.care.disclosure.ask_witnesses() == 1  # the police's node has answered
    world.clock.now += timedelta(days=1)
    assert await world.care.disclosure.ask_witnesses() == 3
