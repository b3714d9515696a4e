"""A provider, or a broker on its side, against the recipient: dates, orders of arrival, numbers, notices."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from agency_node.disclosure.messages import BreakGlassNotice, DisclosureAnswer, padded
from agency_node.disclosure.model import Direction
from agency_node.disclosure.wording import picture_lines, picture_notices
from policies.codec import Document, document_hash, open_document
from policies.disclosure import DisclosureRelease, DisclosureRequest, ReleasedRecord
from policies.ids import DocumentId, FieldName, FieldValue, Hash256, Line, PersonId, RecordType
from policies.vocabulary import Strength as Band
from protos.wire.errors import ErrorCode
from protos.wire.linkage import Strength
from protos.wire.relay import IncomingMessage, ToAgency
from tests.simulator.disclosure_nodes import (
    OFFICER,
    SUSAN_AT_CARE,
    SUSAN_AT_POLICE,
    AcknowledgingRelay,
    World,
    make_world,
    record,
)
from tests.simulator.policies import CARE, NOW, POLICE, sample_policy

PRIVACY = ("care.privacy", "privacy_officer")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = await make_world()
    yield world
    await world.close()


async def forge(world: World, purpose: str, document: Document) -> None:
    """Social care's node signs and sends whatever it likes."""
    ctx = world.care.disclosure.context
    async with world.care.store.transaction() as tx:
        await ctx.mailbox.post(tx, ToAgency(POLICE), POLICE, purpose, ctx.signed(document))
    await world.deliver()


def without_answers(message: IncomingMessage) -> IncomingMessage | None:
    return None if message.purpose == "disclosure-answer" else message


async def forged_answer(world: World, **changes: Any) -> str:
    """A request whose answer is not what social care's node would say; returns its id."""
    request_id = await world.ask()
    await world.deliver(without_answers)
    async with world.police.store.transaction() as tx:
        stored = await tx.requests.get(Direction.MADE, request_id)
    assert stored is not None and stored.wrapped is not None
    vault = world.police.disclosure.context.vault
    contents = vault.open_request(Direction.MADE, request_id, stored.wrapped)
    request = open_document(DisclosureRequest, contents.envelope)
    fields = {FieldName("risk_band"): FieldValue("low")}
    obligations = world.policy.obligations
    release = DisclosureRelease(
        id=DocumentId("f" * 32),
        decision_hash=Hash256("0" * 64),
        policy=request.policy,
        policy_hash=request.policy_hash,
        link_token=request.link_token,
        provider=CARE,
        recipient=POLICE,
        released_at=world.clock.now,
        purge_after=world.clock.now + timedelta(days=90),
        handling_marking=obligations.handling_marking,
        victim_contact_warning=obligations.victim_contact_warning,
        onward_sharing=(),
        records=(ReleasedRecord(DocumentId("a" * 32), RecordType("risk_assessment"), fields),),
        request_hash=Hash256(document_hash(request)),
    )
    answer = DisclosureAnswer((), (), release.request_hash, release=replace(release, **changes))
    await forge(world, "disclosure-answer", padded(answer))
    return request_id


async def test_what_the_forger_changes_below_is_all_that_is_wrong(world: World) -> None:
    request_id = await forged_answer(world)
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "released"


FAR = NOW + timedelta(days=36_500)
END = datetime(9999, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"released_at": FAR, "purge_after": FAR + timedelta(days=90)},
        {
            "released_at": datetime(9999, 12, 30, tzinfo=UTC),
            "purge_after": datetime(9999, 12, 31, tzinfo=UTC),
        },
        {"released_at": NOW - timedelta(days=30)},
        {"purge_after": NOW + timedelta(days=91)},
        {"onward_sharing": (CARE,)},
        {"records": (ReleasedRecord(DocumentId("case-2026-0001"), RecordType("risk_assessment"), {}),)},
    ],
    ids=["from the future", "end of time", "from long ago", "kept longer", "passed on", "a number of ours"],
)
async def test_a_release_that_would_outlive_or_overreach_its_policy_is_not_kept(
    world: World, changes: dict[str, Any]
) -> None:
    request_id = await forged_answer(world, **changes)
    assert (await world.police.disclosure.get_request(request_id)).summary.state == "sent"
    (body,) = await world.police.bodies("identity-refused")
    assert body["code"] == str(ErrorCode.REQUEST_INVALID)


async def late(
    world: World, held: list[IncomingMessage]
) -> Callable[[IncomingMessage], IncomingMessage | None]:
    """A relay that keeps answers back."""

    def keep(message: IncomingMessage) -> IncomingMessage | None:
        if message.purpose == "disclosure-answer":
            held.append(message)
            return None
        return message

    return keep


async def hand_over(world: World, message: IncomingMessage) -> None:
    await world.police.mailbox.take(AcknowledgingRelay(), message)
    await world.deliver()


async def test_a_recall_that_overtakes_its_release_still_counts(world: World) -> None:
    held: list[IncomingMessage] = []
    request_id = await world.ask()
    await world.deliver(await late(world, held))
    await world.order(world.care, "recall-release", request_id, *PRIVACY, about="false_link")
    await world.deliver()
    await hand_over(world, held[0])
    detail = await world.police.disclosure.get_request(request_id)
    assert (detail.summary.state, detail.release, detail.outcomes) == ("recalled", b"", ())
    assert await world.police.disclosure.picture(SUSAN_AT_POLICE) == ()
    assert "erased" in await world.care.actions()


async def test_what_was_corrected_never_replaces_its_correction(world: World) -> None:
    held: list[IncomingMessage] = []
    request_id = await world.ask()
    await world.deliver(await late(world, held))
    world.care.records.records[SUSAN_AT_CARE] = [
        record("R1", "risk_assessment", date(2026, 1, 20), risk_band="standard", consent="given")
    ]
    world.clock.advance(minutes=5)
    await world.refresh_status()
    await world.order(world.care, "correct-release", request_id, *PRIVACY)
    await world.deliver(await late(world, held))
    old, new = held
    await hand_over(world, new)
    await hand_over(world, old)
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    assert [item.fields["risk_band"] for item in items if "risk_band" in item.fields] == ["standard"]


async def test_a_recall_leaves_nothing_of_how_the_request_was_answered(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    assert (await world.police.disclosure.get_request(request_id)).outcomes
    await world.order(world.care, "recall-release", request_id, *PRIVACY, about="false_link")
    await world.deliver()
    assert (await world.police.disclosure.get_request(request_id)).outcomes == ()


async def test_a_notice_about_no_emergency_suspends_nobody(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    async with world.police.store.transaction() as tx:
        stored = await tx.requests.get(Direction.MADE, request_id)
    assert stored is not None
    notice = BreakGlassNotice(
        id=DocumentId("0" * 32),
        request=stored.request_id,
        request_hash=Hash256(stored.request_hash),
        provider=CARE,
        recipient=POLICE,
        officer=PersonId(OFFICER),
        reason_code=Line("threat to life"),
        used_at=world.clock.now,
        review_due=datetime(1971, 1, 1, tzinfo=UTC),
    )
    await forge(world, "break-glass-notice", notice)
    assert await world.police.disclosure.list_emergencies() == ()
    assert "break-glass-invoked" not in await world.police.actions()
    await world.ask()


async def test_the_purge_of_what_was_pushed_is_on_record_about_its_subject(world: World) -> None:
    request_id = await world.ask()
    await world.deliver()
    await world.order(world.care, "recall-release", request_id, *PRIVACY, about="false_link")
    await world.deliver()
    entries = await world.police.disclosure.about_subject(SUSAN_AT_POLICE)
    assert "purged" in [item.action for item in entries]


@pytest.mark.parametrize(("told", "released"), [(Strength.STRONG, True), (Strength.POSSIBLE, False)])
async def test_the_broker_cannot_make_a_link_stronger_than_it_told(
    world: World, told: Strength, released: bool
) -> None:
    """The message says strong; clause 3 of the policy asks for that."""
    (clause,) = (item for item in sample_policy().clauses if item.number == 3)
    assert clause.conditions.minimum_strength is Band.STRONG
    async with world.police.store.transaction() as tx:
        known = await tx.links.by_token(b"t" * 16)
    assert known is not None
    async with world.care.store.transaction() as tx:
        own = replace(known, token=b"w" * 16, handle=b"c" * 16, counterpart=POLICE, strength=told)
        await tx.links.put([own])
    request_id = await world.ask(tier=2, record_types=("incident",), fields=("summary",))
    await world.deliver()
    if released:
        await world.approve(request_id, world.care, "care.approver", "approver")
        await world.deliver()
    state = (await world.police.disclosure.get_request(request_id)).summary.state
    assert state == ("released" if released else "refused")


async def test_a_value_shows_as_a_value(world: World) -> None:
    value = "low\n2026-02-28  police, incident\n            summary: No action."
    fields = {FieldName("risk_band"): FieldValue(value)}
    records = (ReleasedRecord(DocumentId("a" * 32), RecordType("risk_assessment"), fields),)
    await forged_answer(world, records=records)
    items = await world.police.disclosure.picture(SUSAN_AT_POLICE)
    lines = [line for item in items for line in picture_lines(item)]
    assert [line.lstrip() for line in lines if "police, incident" in line] == [
        "| 2026-02-28  police, incident"
    ]
    assert next(picture_notices(items)).startswith("Handling: OFFICIAL-SENSITIVE")
