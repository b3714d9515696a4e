"""Every decision is on record in the form of Annex B: releases, refusals of every kind, what was pushed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields, replace

import pytest

from agency_node.disclosure.model import ReleaseSide
from agency_node.disclosure.wording import form_lines
from crypto.envelope import Envelope, require_signature
from policies.annexb import AnnexB
from policies.codec import parse, payload_type
from policies.disclosure import DisclosureDecision, RefusalCode
from policies.sharing import SharingPolicy
from tests.integration.test_disclosure_push import PRIVACY, TOKEN_AT_CARE, told
from tests.simulator.disclosure_nodes import DECOY_AT_CARE, SUSAN_AT_CARE, World, make_world
from tests.simulator.policies import NHS, key_of, sample_policy

#: Others would state these: social care is under the UK GDPR, and names no Article 10 condition.
NOT_STATED = {"criminal_offence_condition", "part3_basis", "schedule8_paragraph"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await make_world()
    yield made
    await made.close()


async def decided(world: World, request_id: str) -> DisclosureDecision:
    """The decision that social care holds, signed by its node."""
    detail = await world.care.disclosure.get_request(request_id)
    envelope = Envelope.from_bytes(detail.decision)
    kind = payload_type(DisclosureDecision)
    return parse(DisclosureDecision, require_signature(envelope, key_of("node care").verify_key, kind))


def require_whole(decision: DisclosureDecision) -> None:
    """Every line of the form says something, and the page shows it."""
    form = decision.annex_b
    empty = {item.name for item in fields(AnnexB) if getattr(form, item.name) in (None, "", ())}
    assert empty == NOT_STATED
    page = "\n".join(form_lines(decision))
    for value in (
        form.necessity,
        form.agreement,
        form.legal_powers[0],
        form.dpia_reference,
        decision.reasons,
    ):
        assert value and value in page
    assert decision.requested_at <= decision.decided_at


async def test_a_release_is_recorded_with_every_field_of_the_form(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    await world.approve(request_id, world.care, "care.approver", "approver")
    decision = await decided(world, request_id)
    require_whole(decision)
    assert decision.refusal is None and decision.decided_by == ("care.approver",)
    assert decision.outcomes and len(decision.approval_hashes) == 1
    assert (await world.police.disclosure.get_request(request_id)).decision == b""


def budget(number: int) -> SharingPolicy:
    return sample_policy(safeguards=replace(sample_policy().safeguards, requests_per_officer_per_day=number))


@pytest.mark.parametrize("code", ["limit_reached", "not_available", "conflict_of_interest", "not_permitted"])
async def test_a_refusal_is_recorded_as_fully_as_a_release(code: str) -> None:
    world = await make_world(policy=budget(1 if code == "limit_reached" else 20))
    if code == "limit_reached":
        await world.ask()
    elif code == "not_available":
        world.handle = DECOY_AT_CARE
    elif code == "conflict_of_interest":
        await world.order(
            world.care, "declare-conflict", "police.investigator", *PRIVACY, about=SUSAN_AT_CARE
        )
    request_id = await world.ask(tier=2 if code == "not_permitted" else 1)
    await world.deliver()
    if code == "not_permitted":
        await world.approve(request_id, world.care, "care.approver", "approver", "reject")
    decision = await decided(world, request_id)
    require_whole(decision)
    assert decision.refusal is RefusalCode(code)
    await world.close()


async def test_a_policy_that_lets_others_pass_things_on_releases_nothing_and_says_why() -> None:
    duties = replace(sample_policy().obligations, onward_sharing=(NHS,))
    world = await make_world(policy=sample_policy(obligations=duties))
    request_id = await world.ask()
    await world.deliver()
    told_to_police = await world.police.disclosure.get_request(request_id)
    assert told_to_police.refusal.startswith("not_available") and told_to_police.release == b""
    decision = await decided(world, request_id)
    assert {str(item.reason) for item in decision.outcomes} == {
        "denied: the policy's obligations allow onward sharing, which is refused"
    }
    await told(world)
    await world.care.disclosure.keep_house()
    assert "disclosure-released" not in await world.care.actions()
    await world.close()


async def test_what_is_pushed_is_recorded_too_until_its_subject_is_erased(world: World) -> None:
    await told(world)
    assert world.handle_at.keys() == {TOKEN_AT_CARE}
    await world.care.disclosure.keep_house()
    await world.deliver()
    (body,) = await world.care.bodies("disclosure-released")
    release = str(body["release"])
    decision = await decided(world, release)
    require_whole(decision)
    assert decision.annex_b.case_reference == "no case: pushed" and decision.refusal is None
    assert (await world.care.disclosure.get_request(release)).summary.direction == "pushed"
    await world.order(world.care, "erase-subject", SUSAN_AT_CARE, *PRIVACY)
    await world.deliver()
    async with world.care.store.transaction() as tx:
        given = await tx.releases.get(ReleaseSide.GIVEN, release)
    assert given is not None and given.wrapped is None and given.subject_mac == ""
