"""Break-glass afterwards: reviews that find it unjustified, and uses that pile up unreviewed."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from agency_node.disclosure.model import Direction, EmergencyUse
from policies.disclosure import BreakGlass
from policies.ids import DocumentId, Line, PersonId, Prose
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.disclosure_nodes import OFFICER, SUSAN_AT_POLICE, SimNode, World, make_world
from tests.simulator.policies import POLICE

REVIEWERS = {"care": ("care.privacy", "privacy_officer"), "police": ("police.privacy", "privacy_officer")}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await make_world()
    yield world
    await world.close()


async def break_glass(world: World) -> str:
    """Something released on the claim of an emergency; returns the request's id."""
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=2, break_glass=claim)
    await world.deliver()
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "released"
    return request_id


async def review(world: World, node: SimNode, request_id: str, *, justified: bool) -> str:
    said = "approve" if justified else "reject"
    return await world.approve(request_id, node, *REVIEWERS[str(node.agency)], said)


@pytest.mark.parametrize("where", ["care", "police"])
async def test_what_was_got_without_justification_is_taken_back_and_its_officer_suspended(
    world: World, where: str
) -> None:
    node = world.care if where == "care" else world.police
    request_id = await break_glass(world)
    assert await review(world, node, request_id, justified=False) == "recalled"
    await world.deliver()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    assert "erased" in await world.care.actions()
    (item,) = await node.disclosure.list_supervision()
    assert (item.kind, item.officer) == ("break-glass-unjustified", OFFICER)
    if where == "police":
        with pytest.raises(RefusedError) as refused:
            await world.ask()
        assert refused.value.code is ErrorCode.NOT_ALLOWED
    else:
        again = await world.ask()
        await world.deliver()
        refusal = (await world.police.disclosure.get_request(again)).refusal
        assert refusal.startswith("not_permitted")
    await world.order(node, "sign-off", item.item_id, *REVIEWERS[where])
    again = await world.ask()
    await world.deliver()
    assert (await world.police.disclosure.get_request(again)).summary.state == "released"


async def test_what_was_not_justified_is_not_released_anew_by_a_correction(world: World) -> None:
    request_id = await break_glass(world)
    await review(world, world.care, request_id, justified=False)
    (item,) = await world.care.disclosure.list_supervision()
    await world.order(world.care, "sign-off", item.item_id, *REVIEWERS["care"])
    outcome = await world.order(world.care, "correct-release", request_id, *REVIEWERS["care"])
    assert "nothing to release" in outcome
    await world.deliver()
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()


async def test_a_justified_use_suspends_nobody(world: World) -> None:
    request_id = await break_glass(world)
    for node in (world.care, world.police):
        assert await review(world, node, request_id, justified=True) == "released"
    assert await world.care.disclosure.list_supervision() == ()
    await world.ask()


async def test_no_fourth_use_while_three_wait_for_their_review(world: World) -> None:
    used = [await break_glass(world) for _ in range(3)]
    with pytest.raises(RefusedError, match="wait for their review") as refused:
        await break_glass(world)
    assert refused.value.code is ErrorCode.NOT_ALLOWED
    ordinary = await world.ask()
    await world.deliver()
    assert (await world.police.disclosure.get_request(ordinary)).summary.state == "released"
    await review(world, world.police, used[0], justified=True)
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    fourth = await world.ask(tier=2, break_glass=claim)
    await world.deliver()
    # At the provider all three wait still.
    assert (await world.police.disclosure.get_request(fourth)).refusal.startswith("not_permitted")


async def test_who_is_suspended_approves_nothing(world: World) -> None:
    request_id = await world.ask(tier=2)
    await world.deliver()
    now = world.clock.now
    async with world.care.store.transaction() as tx:
        use = EmergencyUse(
            DocumentId("another-request"), Direction.MADE, PersonId("care.approver"), POLICE, "0" * 64,
            now - timedelta(days=2), now - timedelta(days=1),
        )  # fmt: skip
        await tx.emergencies.add(use)
    with pytest.raises(RefusedError, match="own use of break-glass") as refused:
        await world.approve(request_id, world.care, "care.approver", "approver")
    assert refused.value.code is ErrorCode.APPROVAL_REFUSED
