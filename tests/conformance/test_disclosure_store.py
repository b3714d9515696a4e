"""Requests, approvals, releases, retention and break-glass on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from agency_node import migrations
from agency_node.disclosure.model import (
    Direction,
    EmergencyUse,
    Push,
    ReleaseSide,
    ReleaseState,
    RequestState,
    StoredConflict,
    StoredRelease,
    StoredRequest,
    SupervisionItem,
)
from agency_node.store.store import NodeStore
from policies.disclosure import ErasureReason
from policies.ids import DocumentId, PersonId
from policies.vocabulary import Purpose
from tests.simulator.policies import CARE, NHS, POLICE

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
REQUEST = StoredRequest(
    direction=Direction.RECEIVED,
    request_id=DocumentId("request-0001"),
    request_hash="a" * 64,
    peer=POLICE,
    state=RequestState.WAITING,
    officer=PersonId("police.investigator"),
    purpose=Purpose.DOMESTIC_ABUSE_RISK,
    tier=2,
    policy_hash="b" * 64,
    subject_mac="c" * 64,
    link_mac="d" * 64,
    created=NOW,
    expires=NOW + timedelta(days=7),
    approvals=0,
    approvals_needed=1,
    message_id="e" * 32,
    wrapped=b"request",
    outcome=None,
)
RELEASE = StoredRelease(
    side=ReleaseSide.RECEIVED,
    release_hash="f" * 64,
    request_id=DocumentId("request-0001"),
    peer=CARE,
    state=ReleaseState.OPEN,
    policy_hash="b" * 64,
    subject_mac="c" * 64,
    link_mac="d" * 64,
    released=NOW,
    purge_after=NOW + timedelta(days=90),
    wrapped=b"release",
)


@pytest.fixture(params=["file", "memory", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NodeStore]:
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    else:
        url = f"sqlite:///{tmp_path / 'node.db'}" if request.param == "file" else "sqlite://"
    opened = NodeStore.open(url)
    await migrations.upgrade(opened.engine)
    yield opened
    await opened.close()


async def test_requests_come_back_as_they_were(store: NodeStore) -> None:
    made = replace(
        REQUEST, direction=Direction.MADE, request_hash="9" * 64, state=RequestState.SENT, message_id="1" * 32
    )
    async with store.transaction() as tx:
        await tx.requests.add(REQUEST)
        await tx.requests.add(made)
    async with store.transaction() as tx:
        assert await tx.requests.get(Direction.RECEIVED, REQUEST.request_id) == REQUEST
        assert await tx.requests.by_hash(Direction.MADE, "9" * 64) == made
        assert await tx.requests.by_hash(Direction.MADE, "a" * 64) is None
        assert await tx.requests.by_message("1" * 32) == made
        assert set(await tx.requests.named(REQUEST.request_id)) == {REQUEST, made}
        assert await tx.requests.named("request-0002") == ()
        assert len(await tx.requests.listed()) == 2
        assert await tx.requests.listed(Direction.MADE) == (made,)
        assert await tx.requests.in_state(Direction.RECEIVED, RequestState.WAITING) == (REQUEST,)
        assert len(await tx.requests.of_subject("c" * 64)) == 2
        await tx.requests.settle(Direction.RECEIVED, REQUEST.request_id, RequestState.RELEASED, b"decision")
        await tx.requests.set_approvals(Direction.RECEIVED, REQUEST.request_id, 1, 1)
    async with store.transaction() as tx:
        settled = await tx.requests.get(Direction.RECEIVED, REQUEST.request_id)
        assert settled == replace(REQUEST, state=RequestState.RELEASED, approvals=1, outcome=b"decision")
        assert await tx.requests.get(Direction.MADE, REQUEST.request_id) == made


async def test_a_request_is_kept_once(store: NodeStore) -> None:
    async with store.transaction() as tx:
        await tx.requests.add(REQUEST)
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.requests.add(REQUEST)
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.requests.add(replace(REQUEST, request_id=DocumentId("request-0002")))


async def test_budgets_count_by_agency_and_officer_or_purpose(store: NodeStore) -> None:
    other = replace(
        REQUEST,
        request_id=DocumentId("request-0002"),
        request_hash="2" * 64,
        officer=PersonId("police.other"),
    )
    early = replace(
        REQUEST, request_id=DocumentId("request-0003"), request_hash="3" * 64, created=NOW - timedelta(days=1)
    )
    elsewhere = replace(REQUEST, request_id=DocumentId("request-0004"), request_hash="4" * 64, peer=NHS)
    async with store.transaction() as tx:
        for item in (REQUEST, other, early, elsewhere):
            await tx.requests.add(item)
        count = tx.requests.count_since
        assert await count("b" * 64, NOW, POLICE, officer="police.investigator") == 1
        assert await count("b" * 64, NOW, POLICE, purpose="domestic_abuse_risk") == 2
        assert await count("b" * 64, NOW, NHS, purpose="domestic_abuse_risk") == 1
        assert await count("b" * 64, NOW - timedelta(days=1), POLICE) == 3
        assert await count("0" * 64, NOW - timedelta(days=1), POLICE) == 0


async def test_approvals_keep_their_order(store: NodeStore) -> None:
    async with store.transaction() as tx:
        for item in (b"one", b"two", b"three"):
            await tx.approvals.add("a" * 64, item)
    async with store.transaction() as tx:
        assert await tx.approvals.of("a" * 64) == (b"one", b"two", b"three")
        assert await tx.approvals.of("b" * 64) == ()


async def test_releases_and_their_clock(store: NodeStore) -> None:
    given = replace(RELEASE, side=ReleaseSide.GIVEN, wrapped=None)
    async with store.transaction() as tx:
        await tx.releases.add(RELEASE)
        await tx.releases.add(given)
    async with store.transaction() as tx:
        assert await tx.releases.get(ReleaseSide.GIVEN, RELEASE.release_hash) == given
        assert await tx.releases.of_request(ReleaseSide.RECEIVED, "request-0001") == RELEASE
        assert await tx.releases.of_subject(ReleaseSide.RECEIVED, "c" * 64) == (RELEASE,)
        assert await tx.releases.of_link(ReleaseSide.GIVEN, "d" * 64) == (given,)
        assert await tx.retention.due(RELEASE.purge_after - timedelta(seconds=1)) == ()
        assert await tx.retention.due(RELEASE.purge_after) == (RELEASE,)
        await tx.retention.purge(RELEASE.release_hash)
        await tx.releases.set_state(ReleaseSide.GIVEN, RELEASE.release_hash, ReleaseState.RECEIPTED)
    async with store.transaction() as tx:
        purged = await tx.releases.get(ReleaseSide.RECEIVED, RELEASE.release_hash)
        assert purged == replace(RELEASE, state=ReleaseState.ERASED, wrapped=None)
        assert await tx.retention.due(RELEASE.purge_after) == ()
        receipted = await tx.releases.get(ReleaseSide.GIVEN, RELEASE.release_hash)
        assert receipted == replace(given, state=ReleaseState.RECEIPTED)


async def test_records_that_were_received_stay_known(store: NodeStore) -> None:
    macs = [f"{number:064x}" for number in range(1200)]
    async with store.transaction() as tx:
        await tx.releases.note_received(macs[:700])
        await tx.releases.note_received([macs[699], macs[700], macs[700]])
    async with store.transaction() as tx:
        assert await tx.releases.received(macs) == frozenset(macs[:701])
        assert await tx.releases.received([]) == frozenset()


async def test_break_glass_suspends_until_it_is_reviewed(store: NodeStore) -> None:
    officer = PersonId("police.investigator")
    use = EmergencyUse(
        DocumentId("request-0001"),
        Direction.RECEIVED,
        officer,
        POLICE,
        "b" * 64,
        NOW,
        NOW + timedelta(hours=24),
    )
    async with store.transaction() as tx:
        await tx.emergencies.add(use)
    async with store.transaction() as tx:
        assert await tx.emergencies.get(use.direction, use.request_id) == use
        assert await tx.emergencies.unreviewed() == (use,)
        assert not await tx.emergencies.suspends(officer, NOW + timedelta(hours=24))
        assert await tx.emergencies.suspends(officer, NOW + timedelta(hours=25))
        assert not await tx.emergencies.suspends(PersonId("police.other"), NOW + timedelta(hours=25))
        await tx.emergencies.review(use.direction, use.request_id, NOW + timedelta(hours=26))
    async with store.transaction() as tx:
        assert not await tx.emergencies.suspends(officer, NOW + timedelta(hours=27))
        assert await tx.emergencies.unreviewed() == ()


async def test_break_glass_is_of_one_direction(store: NodeStore) -> None:
    """What is under the same id in the other direction neither hides a use nor settles it."""
    officer, due = PersonId("police.investigator"), NOW + timedelta(hours=24)
    made = EmergencyUse(REQUEST.request_id, Direction.MADE, officer, CARE, "b" * 64, NOW, due)
    received = replace(made, direction=Direction.RECEIVED, officer=PersonId("care.investigator"))
    async with store.transaction() as tx:
        await tx.emergencies.add(made)
        assert await tx.emergencies.get(Direction.RECEIVED, made.request_id) is None
        await tx.emergencies.review(Direction.RECEIVED, made.request_id, NOW)
        await tx.emergencies.add(received)
        assert await tx.emergencies.unreviewed() == (made, received)
        await tx.emergencies.review(Direction.RECEIVED, made.request_id, NOW)
    async with store.transaction() as tx:
        assert await tx.emergencies.unreviewed() == (made,)
        reviewed = await tx.emergencies.get(Direction.RECEIVED, made.request_id)
        assert reviewed == replace(received, reviewed=NOW)
        assert await tx.emergencies.suspends(officer, due + timedelta(hours=1))


async def test_supervision_is_raised_once_and_signed_off(store: NodeStore) -> None:
    item = SupervisionItem("1" * 64, "sample", "request-0001", "police.investigator", POLICE, "b" * 64, NOW)
    async with store.transaction() as tx:
        assert await tx.supervision.add(item)
        assert not await tx.supervision.add(item)
        assert await tx.supervision.waiting() == (item,)
        await tx.supervision.sign_off(item.item_id, NOW)
        assert await tx.supervision.waiting() == ()
        assert await tx.supervision.get(item.item_id) == replace(item, signed_off=NOW)


async def test_conflicts_are_about_one_subject_or_everybody(store: NodeStore) -> None:
    async with store.transaction() as tx:
        for mac in ("c" * 64, ""):
            await tx.conflicts.put(StoredConflict("police.investigator", mac, NOW, b"first"))
        await tx.conflicts.put(StoredConflict("police.investigator", "", NOW, b"again"))
        listed = [(item.subject_mac, item.wrapped) for item in await tx.conflicts.listed()]
        assert listed == [("", b"first"), ("", b"again"), ("c" * 64, b"first")]
        assert await tx.conflicts.held("police.investigator", ("", "d" * 64)) == {""}
        assert await tx.conflicts.held("somebody", ("",)) == frozenset()
        await tx.conflicts.forget_subject("c" * 64)
        assert await tx.conflicts.remove("police.investigator", "")
        assert not await tx.conflicts.remove("police.investigator", "")
        assert await tx.conflicts.listed() == ()


async def test_an_order_is_noted_once_until_it_is_pruned(store: NodeStore) -> None:
    one, two = "1" * 64, "2" * 64
    async with store.transaction() as tx:
        assert await tx.orders.note(one, NOW)
        assert not await tx.orders.note(one, NOW)
    async with store.transaction() as tx:
        assert not await tx.orders.note(one, NOW + timedelta(days=1))
        assert await tx.orders.note(two, NOW + timedelta(seconds=1))
        await tx.orders.prune(NOW)
        assert not await tx.orders.note(one, NOW)
        await tx.orders.prune(NOW + timedelta(seconds=1))
        assert await tx.orders.note(one, NOW)
        assert not await tx.orders.note(two, NOW)


async def test_declarations_of_the_time_before_stay_on_the_list(tmp_path: Path) -> None:
    opened = NodeStore.open(f"sqlite:///{tmp_path / 'node.db'}")
    await migrations.upgrade(opened.engine, "0004")
    old = sa.table(
        "conflicts_of_interest", *map(sa.column, ("officer", "subject_mac", "declared", "wrapped"))
    )
    values = {"officer": "police.investigator", "subject_mac": "", "declared": 1, "wrapped": b"why"}
    async with opened.engine.begin() as connection:
        await connection.execute(sa.insert(old).values(values))
    await migrations.upgrade(opened.engine)
    async with opened.transaction() as tx:
        (kept,) = await tx.conflicts.listed()
        assert (kept.officer, kept.wrapped) == ("police.investigator", b"why")
    await opened.close()


async def test_pushes_are_due_when_new_or_long_ago(store: NodeStore) -> None:
    one, two = b"1" * 16, b"2" * 16
    async with store.transaction() as tx:
        await tx.pushes.add({one})
        await tx.pushes.looked_at(one, NOW, "e" * 64)
        await tx.pushes.add({two})
        assert await tx.pushes.due(NOW - timedelta(hours=1), 10) == (Push(two, None, ""),)
        assert await tx.pushes.due(NOW, 10) == (Push(two, None, ""), Push(one, NOW, "e" * 64))
        assert await tx.pushes.due(NOW, 1) == (Push(two, None, ""),)
        await tx.pushes.add({one})
        assert await tx.pushes.get(one) == Push(one, None, "e" * 64)
        until = NOW + timedelta(days=1)
        await tx.pushes.offered(one, "a" * 64, until)
        waiting = Push(one, None, "e" * 64, "a" * 64, until)
        assert await tx.pushes.of_offer("a" * 64) == await tx.pushes.get(one) == waiting
        assert await tx.pushes.of_offer("b" * 64) is None
        await tx.pushes.answered(one, "f" * 64)
        assert await tx.pushes.get(one) == Push(one, None, "f" * 64)
        await tx.pushes.answered(one, "f" * 64, until)
        await tx.pushes.add({one})
        assert await tx.pushes.get(one) == Push(one, None, "f" * 64)
        await tx.pushes.looked_at(one, NOW, "e" * 64)
        await tx.pushes.forget(one)
        assert await tx.pushes.get(one) == Push(one, None, "")
        await tx.pushes.remove({one})
        assert await tx.pushes.get(one) is None


async def test_patterns_are_counted(store: NodeStore) -> None:
    async with store.transaction() as tx:
        for number, officer in enumerate(("a", "a", "b")):
            await tx.requests.add(
                replace(
                    REQUEST, request_id=DocumentId(f"request-{number:04}"), request_hash=str(number) * 64,
                    officer=PersonId(f"police.{officer}"), case_mac="7" * 64,
                    subject_mac=str(number // 2) * 64, created=NOW - timedelta(hours=number),
                )
            )  # fmt: skip
        count, received = tx.requests, Direction.RECEIVED
        assert await count.asked_between(received, "police.a", NOW - timedelta(hours=1), NOW) == 1
        assert await count.asked_between(received, "police.a", NOW, NOW + timedelta(hours=1)) == 1
        assert await count.officers_about(received, "0" * 64, NOW - timedelta(days=1)) == 1
        assert await count.subjects_of_case(received, "police.a", "7" * 64, NOW - timedelta(days=1)) == 1
        assert await count.forget_subject("0" * 64) == 2
        forgotten = await count.get(received, "request-0000")
        assert forgotten is not None and forgotten.wrapped is None and forgotten.subject_mac is None
        assert await count.of_subject("0" * 64) == ()


async def test_a_corrected_release_stands_for_the_first(store: NodeStore) -> None:
    later = replace(RELEASE, release_hash="6" * 64)
    async with store.transaction() as tx:
        await tx.releases.add(RELEASE)
        await tx.releases.add(later)
        await tx.retention.purge(RELEASE.release_hash)
        assert RELEASE.request_id is not None
        assert await tx.releases.of_request(ReleaseSide.RECEIVED, RELEASE.request_id) == later
        assert len(await tx.releases.all_of_request(ReleaseSide.RECEIVED, RELEASE.request_id)) == 2
        await tx.releases.forget_subject(RELEASE.subject_mac)
        assert await tx.releases.of_subject(ReleaseSide.RECEIVED, RELEASE.subject_mac) == ()


async def test_recalls_are_remembered_until_nothing_can_follow_them(store: NodeStore) -> None:
    release, other = "a" * 64, "b" * 64
    async with store.transaction() as tx:
        assert await tx.releases.recalled(POLICE, release) is None
        await tx.releases.note_recalls(POLICE, [release, release], ErasureReason.RECALLED, NOW)
        await tx.releases.note_recalls(POLICE, [release], ErasureReason.SUBJECT_RIGHT, NOW)
    async with store.transaction() as tx:
        assert await tx.releases.recalled(POLICE, release) is ErasureReason.RECALLED
        assert await tx.releases.recalled(CARE, release) is await tx.releases.recalled(POLICE, other) is None
        await tx.releases.forget_recalls_before(NOW)
        assert await tx.releases.recalled(POLICE, release) is ErasureReason.RECALLED
        await tx.releases.forget_recalls_before(NOW + timedelta(seconds=1))
        assert await tx.releases.recalled(POLICE, release) is None


async def test_the_registry_of_the_time_before_stays_the_one_believed(tmp_path: Path) -> None:
    opened = NodeStore.open(f"sqlite:///{tmp_path / 'node.db'}")
    await migrations.upgrade(opened.engine, "0010")
    roots, registries = (
        sa.table(name, sa.column("version"), sa.column("envelope")) for name in ("roots", "registries")
    )
    async with opened.engine.begin() as connection:
        for version in (1, 2):
            await connection.execute(sa.insert(roots).values(version=version, envelope=b"root"))
        await connection.execute(sa.insert(registries).values(version=7, envelope=b"registry"))
    await migrations.upgrade(opened.engine)
    async with opened.transaction() as tx:
        assert await tx.trust.registry() == b"registry"
        assert [item.root_version for item in await tx.trust.registries()] == [2]
    await opened.close()
