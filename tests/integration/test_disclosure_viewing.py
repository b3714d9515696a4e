"""Who looks at what is kept of a subject is on record before anything is shown, and so is who may not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from agency_node.disclosure.service import Disclosure
from crypto.audit import AuditAction
from protos.wire.errors import ErrorCode, RefusedError
from tests.simulator.disclosure_nodes import OFFICER, SUSAN_AT_CARE, SUSAN_AT_POLICE, World, make_world
from tests.simulator.policies import key_of

INVESTIGATOR = (OFFICER, "investigator")
PRIVACY = ("police.privacy", "privacy_officer")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await make_world()
    yield world
    await world.close()


async def looks(world: World) -> list[dict[str, Any]]:
    """What the police's log says of who looked: the body of each entry, with its actor and subject."""
    async with world.police.store.transaction() as tx:
        return [
            {"actor": item.details.actor, "subject": item.details.subject, **item.details.body}
            async for item in world.police.log.read(tx)
            if item.details is not None and item.entry.leaf.action is AuditAction.CONSULTED
        ]


async def exported(disclosure: Disclosure, order: bytes) -> list[tuple[str, bytes]]:
    return [chunk async for chunk in disclosure.see_audit(order)]


async def test_every_look_is_on_record_with_who_what_about_whom_and_why(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    police = world.police.disclosure
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *INVESTIGATOR)
    assert await police.see_picture(order)
    order = await world.signed_order(world.police, "see-request", request_id, *INVESTIGATOR)
    assert (await police.see_request(request_id, order)).release
    order = await world.signed_order(world.police, "see-report", str(SUSAN_AT_POLICE), *PRIVACY)
    report = await police.see_report(order)
    order = await world.signed_order(world.police, "export-audit", "own", *PRIVACY)
    assert await exported(police, order)
    about = {"subject": str(SUSAN_AT_POLICE), "reason": "It is right.", "outcome": "shown"}
    found = await looks(world)
    for entry, told in zip(
        found,
        (
            {"actor": OFFICER, "role": "investigator", "act": "see-picture", **about},
            {"actor": OFFICER, "role": "investigator", "act": "see-request", "target": request_id, **about},
            {"actor": PRIVACY[0], "role": PRIVACY[1], "act": "see-report", **about},
            {"actor": PRIVACY[0], "role": PRIVACY[1], "act": "export-audit", "target": "own", "subject": None,
             "outcome": "shown"},
        ),
        strict=True,
    ):  # fmt: skip
        assert {name: value for name, value in entry.items() if name != "order"} == told
    assert [entry.action for entry in report][-3:] == [AuditAction.CONSULTED] * 3
    assert all(entry.exemptions for entry in report[-3:])


async def test_without_an_order_a_request_shows_as_in_the_list(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    summary = await world.police.disclosure.request_summary(request_id)
    assert summary.state == "released"
    assert await looks(world) == []


async def test_an_officer_with_a_conflict_of_interest_sees_nothing(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    await world.order(
        world.police, "declare-conflict", OFFICER, *PRIVACY, about=str(SUSAN_AT_POLICE)
    )  # fmt: skip
    police = world.police.disclosure
    for act, target in (("see-picture", str(SUSAN_AT_POLICE)), ("see-request", request_id)):
        order = await world.signed_order(world.police, act, target, *INVESTIGATOR)
        with pytest.raises(RefusedError) as refused:
            await (police.see_picture(order) if act == "see-picture" else police.see_request(target, order))
        assert refused.value.code is ErrorCode.CONFLICT_OF_INTEREST
    assert [(item["outcome"], item["code"], item["subject"]) for item in await looks(world)] == [
        ("refused", "conflict_of_interest", str(SUSAN_AT_POLICE))
    ] * 2
    kinds = [item.kind for item in await police.list_supervision()]
    assert kinds == ["conflict-of-interest"]
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *PRIVACY)
    assert await police.see_picture(order)


Attempt = Callable[[World], Awaitable[object]]


async def _in_another_role(world: World) -> None:
    order = await world.signed_order(world.police, "see-report", str(SUSAN_AT_POLICE), *INVESTIGATOR)
    await world.police.disclosure.see_report(order)


async def _an_export_in_another_role(world: World) -> None:
    await exported(
        world.police.disclosure, await world.signed_order(world.police, "export-audit", "own", *INVESTIGATOR)
    )


async def _in_a_role_that_is_not_theirs(world: World) -> None:
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), OFFICER, "siro")
    await world.police.disclosure.see_picture(order)


async def _with_another_key(world: World) -> None:
    order = await world.signed_order(
        world.police, "see-picture", str(SUSAN_AT_POLICE), *PRIVACY, signer=key_of(OFFICER)
    )
    await world.police.disclosure.see_picture(order)


async def _from_another_agency(world: World) -> None:
    order = await world.signed_order(
        world.care, "see-picture", str(SUSAN_AT_CARE), "care.privacy", PRIVACY[1]
    )
    await world.police.disclosure.see_picture(order)


async def _too_late(world: World) -> None:
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *PRIVACY)
    world.clock.advance(minutes=16)
    await world.police.disclosure.see_picture(order)


async def _with_an_order_for_something_else(world: World) -> None:
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *PRIVACY)
    await world.police.disclosure.see_report(order)


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (_in_another_role, ErrorCode.NOT_ALLOWED),
        (_an_export_in_another_role, ErrorCode.NOT_ALLOWED),
        (_in_a_role_that_is_not_theirs, ErrorCode.OFFICER_UNKNOWN),
        (_with_another_key, ErrorCode.SIGNATURE_INVALID),
        (_from_another_agency, ErrorCode.ACTING_FOR_ANOTHER),
        (_too_late, ErrorCode.INVALID_ARGUMENT),
        (_with_an_order_for_something_else, ErrorCode.INVALID_ARGUMENT),
    ],
)
async def test_who_may_not_look_sees_nothing_and_is_on_record(
    world: World, attempt: Attempt, code: ErrorCode
) -> None:
    with pytest.raises(RefusedError) as refused:
        await attempt(world)
    assert refused.value.code is code
    (entry,) = await looks(world)
    assert (entry["outcome"], entry["code"]) == ("refused", code.value)


async def test_an_order_opens_what_it_names_once(world: World) -> None:
    police = world.police.disclosure
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *INVESTIGATOR)
    await police.see_picture(order)
    world.clock.advance(minutes=1)
    with pytest.raises(RefusedError) as refused:
        await police.see_picture(order)
    assert refused.value.code is ErrorCode.REQUEST_REPLAYED
    request_id = await world.ask()
    order = await world.signed_order(world.police, "see-request", request_id, *INVESTIGATOR)
    with pytest.raises(RefusedError, match="another request"):
        await police.see_request("0" * 32, order)
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *INVESTIGATOR)
    with pytest.raises(RefusedError, match="goes with what it asks for"):
        await police.submit_order(order)


async def test_a_look_is_on_record_though_showing_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise OSError("the source is gone")

    monkeypatch.setattr("agency_node.disclosure.service.picture_of", fails)
    order = await world.signed_order(world.police, "see-picture", str(SUSAN_AT_POLICE), *INVESTIGATOR)
    with pytest.raises(OSError, match="gone"):
        await world.police.disclosure.see_picture(order)
    assert [item["outcome"] for item in await looks(world)] == ["shown"]


async def test_what_was_pushed_and_what_is_unknown_are_looked_at_on_record_too(world: World) -> None:
    order = await world.signed_order(world.police, "see-request", "f" * 32, *INVESTIGATOR)
    with pytest.raises(RefusedError) as refused:
        await world.police.disclosure.see_request("f" * 32, order)
    assert refused.value.code is ErrorCode.REQUEST_UNKNOWN
    ((entry),) = await looks(world)
    assert (entry["target"], entry["subject"], "reason" in entry) == ("f" * 32, None, False)
