"""What an officer approves is the request that they mean, and they may change their mind while it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

import pytest

from agency_node.disclosure.model import Direction
from agency_node.subjects import CaseRecord, RecordId
from crypto.envelope import Envelope, sign_envelope
from crypto.seal import SealContext, seal_to
from policies.codec import open_document, payload_type, write
from policies.disclosure import BreakGlass, DisclosureRequest
from policies.ids import AgencyId, Line, PersonId, Prose
from policies.vocabulary import Capacity
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Strength
from protos.wire.relay import IncomingMessage, LinkReference
from tests.simulator.disclosure_nodes import (
    EPOCH,
    HANDLE_AT_CARE,
    HANDLE_AT_POLICE,
    SUSAN,
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    AcknowledgingRelay,
    SimNode,
    World,
    make_world,
)
from tests.simulator.policies import (
    CARE,
    LINKAGE,
    NHS,
    POLICE,
    key_of,
    party,
    sample_clauses,
    sample_policy,
)

APPROVER_AT_POLICE = ("police.approver", "approver")
APPROVER_AT_CARE = ("care.approver", "approver")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Police and social care, each of which may ask the other."""
    both = (POLICE, CARE)
    clauses = tuple(replace(item, providers=both, recipients=both) for item in sample_clauses()[:4])
    parties = (
        *(party(name, Capacity.PROVIDER, Capacity.RECIPIENT) for name in both),
        party(NHS, Capacity.PROVIDER),
    )
    made = await make_world(policy=sample_policy(clauses=clauses, parties=parties))
    incident = CaseRecord(
        RecordId("I-1"), SUSAN_AT_POLICE, "incident", date(2026, 1, 3), {"summary": "Called at night."},
        frozenset(),
    )  # fmt: skip
    made.police.records.add(SUSAN_AT_POLICE, SUSAN, [incident])
    yield made
    await made.close()


async def request_made(world: World, request_id: str) -> DisclosureRequest:
    """A request of the police, as its provider reads it."""
    async with world.police.store.transaction() as tx:
        stored = await tx.requests.get(Direction.MADE, request_id)
    assert stored is not None and stored.wrapped is not None
    contents = world.police.disclosure.context.vault.open_request("made", request_id, stored.wrapped)
    return open_document(DisclosureRequest, contents.envelope)


def turned_round(request: DisclosureRequest, asker: AgencyId, provider: AgencyId) -> DisclosureRequest:
    """A request of another agency under the same id, with the evidence that its maker gave it."""
    return replace(
        request, requester=asker, officer=PersonId(f"{asker}.investigator"), provider=provider,
        break_glass=None,
    )  # fmt: skip


def signed(request: DisclosureRequest) -> Envelope:
    keys = [key_of(str(request.officer)), key_of(f"node {request.requester}")]
    return sign_envelope(payload_type(DisclosureRequest), write(request), keys)


async def hand_over(world: World, node: SimNode, request: DisclosureRequest) -> None:
    """A request arrives at a node as if over the relay."""
    message_id = f"{len(world.delivered) + 1:032x}"
    sender = str(request.requester)
    context = SealContext("disclosure-request", sender, str(node.agency), message_id)
    sealed = seal_to(node.keys.sealing_keys[0].public_key, signed(request).to_bytes(), context)
    handle = HANDLE_AT_POLICE if node.agency == POLICE else HANDLE_AT_CARE
    link = LinkReference(handle, LINKAGE, EPOCH, Strength.STRONG)
    message = IncomingMessage(message_id, sender, "disclosure-request", sealed, link)
    world.delivered.append(message)
    await node.mailbox.take(AcknowledgingRelay(), message)


async def state_at(node: SimNode, request_id: str) -> str:
    return (await node.disclosure.get_request(request_id)).summary.state


# -- one id, one request


async def test_a_provider_cannot_pass_its_own_request_off_as_one_made_to_it(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    request = await request_made(world, request_id)
    await hand_over(world, world.police, replace(turned_round(request, CARE, POLICE), tier=2))
    (body,) = await world.police.bodies("identity-refused")
    assert body["code"] == ErrorCode.REQUEST_REPLAYED
    assert await world.police.disclosure.list_requests("received") == []
    assert await world.approve(request_id, world.police, *APPROVER_AT_POLICE) == "sent"
    await world.deliver()
    held = (await world.care.disclosure.get_request(request_id)).summary
    assert (held.direction, held.state, held.approvals) == ("received", "waiting", 1)
    assert "disclosure-released" not in await world.police.actions()


async def test_nobody_asks_under_the_id_of_a_request_that_was_received(world: World) -> None:
    made = await world.police.disclosure.prepare_request(world.draft(tier=2))
    request = open_document(DisclosureRequest, Envelope(made.payload_type, made.payload))
    await hand_over(world, world.police, turned_round(request, CARE, POLICE))
    assert await state_at(world.police, request.id) == "waiting"
    own = sign_envelope(made.payload_type, made.payload, [key_of("police.investigator")])
    with pytest.raises(RefusedError) as refused:
        await world.police.disclosure.submit_request(own.to_bytes())
    assert refused.value.code is ErrorCode.REQUEST_REPLAYED
    assert await world.police.disclosure.list_requests("made") == []


async def test_an_id_that_names_two_requests_names_none(world: World) -> None:
    """A database from before ids were held in one direction only."""
    request_id = await world.ask(tier=2)
    async with world.police.store.transaction() as tx:
        stored = await tx.requests.get(Direction.MADE, request_id)
        assert stored is not None
        await tx.requests.add(replace(stored, direction=Direction.RECEIVED, request_hash="0" * 64))
    for attempt in (
        world.approve(request_id, world.police, *APPROVER_AT_POLICE),
        world.police.disclosure.get_request(request_id),
    ):
        with pytest.raises(RefusedError, match="ask anew") as refused:
            await attempt
        assert refused.value.code is ErrorCode.REQUEST_UNKNOWN


# -- break-glass


async def test_nothing_hides_or_settles_anothers_use_of_break_glass(world: World) -> None:
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=2, break_glass=claim)
    await world.deliver()
    request = await request_made(world, request_id)
    others = turned_round(request, CARE, POLICE), turned_round(request, NHS, CARE)
    for node, other in zip((world.police, world.care), others, strict=True):
        for forged in (other, replace(other, break_glass=request.break_glass)):
            await hand_over(world, node, forged)
        codes = [body["code"] for body in await node.bodies("identity-refused")]
        assert codes == [ErrorCode.REQUEST_REPLAYED] * 2
        (use,) = await node.disclosure.list_emergencies()
        assert (use.request_id, use.officer) == (request_id, "police.investigator")
    assert await world.approve(request_id, world.police, "police.privacy", "privacy_officer") == "released"
    assert await world.police.disclosure.list_emergencies() == ()
    (use,) = await world.care.disclosure.list_emergencies()
    assert use.direction == "received"


# -- changing one's mind


async def test_the_providers_approver_takes_an_approval_back(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    assert await world.approve(request_id, world.care, *APPROVER_AT_CARE) == "waiting"
    assert await world.approve(request_id, world.care, *APPROVER_AT_CARE, "reject") == "refused"
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.summary.state == "refused" and detail.refusal.startswith("not_permitted")
    (taken_back,) = await world.care.bodies("withdrawn")
    assert (taken_back["what"], taken_back["request"]) == ("approval", request_id)
    said = [body["decision"] for body in await world.care.bodies("approval-given")]
    assert said == ["approve", "reject"]
    assert "disclosure-released" not in await world.care.actions()


async def test_the_recipients_approver_takes_an_approval_back_at_the_provider_too(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.police, *APPROVER_AT_POLICE)
    await world.deliver()
    assert (await world.care.disclosure.get_request(request_id)).summary.approvals == 1
    assert await world.approve(request_id, world.police, *APPROVER_AT_POLICE, "reject") == "sent"
    assert (await world.police.disclosure.get_request(request_id)).summary.approvals == 0
    with pytest.raises(RefusedError, match="asked anew") as refused:
        await world.approve(request_id, world.police, *APPROVER_AT_POLICE)
    assert refused.value.code is ErrorCode.APPROVAL_REFUSED
    await world.deliver()
    assert await state_at(world.care, request_id) == await state_at(world.police, request_id) == "refused"
    for node in (world.police, world.care):
        (taken_back,) = await node.bodies("withdrawn")
        assert taken_back["what"] == "approval" and taken_back["organisation"] == POLICE


async def test_a_decision_is_given_once_and_a_rejection_stays(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.care, *APPROVER_AT_CARE)
    with pytest.raises(RefusedError, match="approved twice"):
        await world.approve(request_id, world.care, *APPROVER_AT_CARE)
    await world.approve(request_id, world.care, *APPROVER_AT_CARE, "reject")
    with pytest.raises(RefusedError, match="refused already"):
        await world.approve(request_id, world.care, *APPROVER_AT_CARE)
    assert "withdrawn" not in await world.police.actions()


async def test_an_approver_with_a_conflict_declared_since_can_still_take_it_back(world: World) -> None:
    request_id = await world.ask(tier=3)
    await world.deliver()
    await world.approve(request_id, world.care, *APPROVER_AT_CARE)
    await world.order(world.care, "declare-conflict", "care.approver", *APPROVER_AT_CARE, about=SUSAN_AT_CARE)
    assert await world.approve(request_id, world.care, *APPROVER_AT_CARE, "reject") == "refused"


async def test_what_was_released_is_recalled_instead(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    assert await world.approve(request_id, world.care, *APPROVER_AT_CARE) == "released"
    await world.deliver()
    command = f"with `tallystick approve recall {request_id}`"
    for node, approver, who in (
        (world.care, APPROVER_AT_CARE, "take it back"),
        (world.police, APPROVER_AT_POLICE, "ask care to take it back"),
    ):
        with pytest.raises(RefusedError) as refused:
            await world.approve(request_id, node, *approver, "reject")
        assert refused.value.code is ErrorCode.APPROVAL_REFUSED and f"{who} {command}" in str(refused.value)
    assert await world.order(world.care, "recall-release", request_id, *APPROVER_AT_CARE)
