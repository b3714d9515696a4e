"""What the requester can never tell apart: nothing held, a decoy, wrong evidence, a conflict, a fault."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from agency_node.rpc.ports import RequestSummary
from policies.clauses import Approvals
from policies.disclosure import BreakGlass
from policies.ids import Line, Prose
from policies.vocabulary import Consent
from tests.simulator.disclosure_nodes import (
    DECOY_AT_CARE,
    OTHER_AT_CARE,
    SUSAN_AT_CARE,
    World,
    make_world,
)
from tests.simulator.policies import sample_policy

PRIVACY = ("care.privacy", "privacy_officer")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await make_world()
    yield world
    await world.close()


async def nothing_held(world: World) -> None:
    world.handle = b"?" * 16


async def decoy(world: World) -> None:
    world.handle = DECOY_AT_CARE


async def somebody_else(world: World) -> None:
    world.handle = OTHER_AT_CARE


async def conflict(world: World) -> None:
    await world.order(world.care, "declare-conflict", "police.investigator", *PRIVACY, about=SUSAN_AT_CARE)


async def gone_from_the_source(world: World) -> None:
    del world.care.records.subjects[SUSAN_AT_CARE]


async def faulty_source(world: World) -> None:
    world.care.records.fails = True


async def everything_marked(world: World) -> None:
    held = world.care.records.records[SUSAN_AT_CARE]
    marked = [replace(item, markers=frozenset({"refuge"})) for item in held]
    world.care.records.records[SUSAN_AT_CARE] = marked


CIRCUMSTANCES: list[tuple[Callable[[World], Awaitable[None]], str]] = [
    (nothing_held, ""),
    (gone_from_the_source, ""),
    (decoy, "probing"),
    (somebody_else, "identity"),
    (conflict, "conflict-of-interest"),
    (faulty_source, ""),
    (everything_marked, ""),
]
ids = [arrange.__name__ for arrange, _alarm in CIRCUMSTANCES]


async def seen(world: World, request_id: str) -> tuple[RequestSummary, str, tuple[object, ...]]:
    """All that the requester sees of an answer, without what is its own: the id."""
    detail = await world.police.disclosure.get_request(request_id)
    return replace(detail.summary, request_id=""), detail.refusal, detail.outcomes


async def answer(
    arrange: Callable[[World], Awaitable[None]], tier: int, approve: bool = False
) -> tuple[object, list[str], list[str]]:
    """What the police see, the states at social care on the way, and the alarms there."""
    world = await make_world()
    await arrange(world)
    request_id = await world.ask(tier=tier, record_types=("risk_assessment",) if tier == 1 else ("incident",))
    await world.deliver()
    states = [(await world.care.disclosure.get_request(request_id)).summary.state]
    if approve:
        states.append(await world.approve(request_id, world.care, "care.approver", "approver"))
    await world.deliver()
    alarms = [item.kind for item in await world.care.disclosure.list_supervision()]
    found = (await seen(world, request_id), states, alarms)
    await world.close()
    return found


@pytest.mark.parametrize(("arrange", "alarm"), CIRCUMSTANCES, ids=ids)
async def test_at_tier_1_all_are_one_answer(arrange: Callable[[World], Awaitable[None]], alarm: str) -> None:
    told, states, alarms = await answer(arrange, 1)
    assert states == ["refused"]
    assert (told, states) == (await answer(nothing_held, 1))[:2]
    assert alarms == ([alarm] if alarm else [])


@pytest.mark.parametrize(("arrange", "alarm"), CIRCUMSTANCES, ids=ids)
async def test_where_approval_is_needed_all_wait_for_it_and_then_are_one_answer(
    arrange: Callable[[World], Awaitable[None]], alarm: str
) -> None:
    told, states, alarms = await answer(arrange, 2, approve=True)
    assert states == ["waiting", "refused"]
    assert (told, states) == (await answer(nothing_held, 2, approve=True))[:2]
    assert alarms == ([alarm] if alarm else [])


async def test_the_provider_knows_why(world: World) -> None:
    await somebody_else(world)
    request_id = await world.ask()
    await world.deliver()
    own = await world.care.disclosure.get_request(request_id)
    assert own.refusal.startswith("identity_not_confirmed")
    told = await world.police.disclosure.get_request(request_id)
    assert told.refusal.startswith("not_available") and "identity" not in told.refusal


async def test_waiting_does_not_tell_the_state_of_consent_or_the_age_of_a_record() -> None:
    policy = sample_policy()
    (automatic,) = (item for item in policy.clauses if item.number == 2)
    unasked = replace(automatic.conditions, consent=(Consent.REFUSED,), max_record_age_days=900)
    strict = replace(automatic, number=20, conditions=unasked, approvals=Approvals(1, 1), push=False)
    policy = replace(policy, clauses=(*policy.clauses, strict))
    for kept in (0, 1, 2):
        world = await make_world(policy=policy)
        world.care.records.records[SUSAN_AT_CARE] = world.care.records.records[SUSAN_AT_CARE][:kept]
        request_id = await world.ask(tier=1, record_types=("risk_assessment",))
        await world.deliver()
        summary = (await world.care.disclosure.get_request(request_id)).summary
        assert (summary.state, summary.approvals_needed) == ("waiting", 1)
        await world.close()


# -- break-glass


@pytest.mark.parametrize(("minutes", "told"), [(30, ""), (61, "not_permitted")])
async def test_a_claim_of_emergency_must_arrive_soon(world: World, minutes: int, told: str) -> None:
    claim = BreakGlass(Line("threat to life"), Prose("He is at the door."), world.clock.now)
    request_id = await world.ask(tier=2, break_glass=claim)
    world.clock.advance(minutes=minutes)
    await world.refresh_status()
    await world.deliver()
    detail = await world.police.disclosure.get_request(request_id)
    assert detail.refusal.partition(":")[0] == told
    assert bool(detail.release) is not bool(told)
