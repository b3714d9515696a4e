"""A member that misuses the linkage: tests that play it, at the broker's network interface."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.holds import HoldError, Release
from broker.store.memory import MemoryStore, MemoryTransaction
from broker.store.model import Hold
from crypto.audit import AuditLeaf, open_details
from crypto.canonical import JsonInput
from policies.agreement import Participant
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import Epoch, RunState, UploadMode, UploadStart
from tests.broker_client import Client, refusal
from tests.broker_world import World, running_world
from tests.encodings import batch, handles, noisy, person_clks
from tests.federation import CARE, LINKAGE, NHS, POLICE
from tests.nodes import until

PEOPLE = 60


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(tmp_path, store=MemoryStore()) as found:
        yield found


def variants(number: int, target: int = 0) -> NDArray[np.uint8]:
    """One person of `person_clks` under so many slightly different spellings."""
    return noisy(person_clks(PEOPLE)[target : target + 1].repeat(number, axis=0), 30, 7)


async def holds(world: World) -> tuple[Hold, ...]:
    async with world.broker._store.read() as tx:
        return await tx.holds.listed()


async def entries(world: World, *actions: str) -> list[tuple[str, Mapping[str, JsonInput]]]:
    """The broker's audit entries of some actions, opened: actor and body."""
    log = world.broker._audit
    async with world.broker._store.read() as tx:
        assert isinstance(tx, MemoryTransaction)
        found = []
        for leaf, sealed in tx.audit._s.leaves.values():
            parsed = AuditLeaf.from_bytes(leaf)
            if parsed.action.value in actions:
                details = open_details(parsed, sealed, log._details_key)
                found.append((details.actor, details.body))
        return found


async def begun(client: Client, epoch: Epoch, clks: NDArray[np.uint8]) -> str:
    """A full upload with all its batches, before its commit."""
    rows = batch(client.agency, range(len(clks)), clks)
    start = UploadStart(
        LINKAGE, epoch.epoch, epoch.schema_hash, secrets.token_hex(16), UploadMode.FULL, rows.rows
    )
    await client.begin(start)
    await client.send_batches(start.upload_id, [(0, rows)])
    return start.upload_id


async def test_one_target_in_many_variants_is_quarantined_until_an_officer_releases_it(world: World) -> None:
    epoch = await world.open_epoch()
    honest = person_clks(PEOPLE, seed=9)
    clks = np.concatenate([honest, variants(25)])
    upload_id = await begun(world.police, epoch, clks)
    assert await refusal(world.police.commit(upload_id, 1, len(clks))) is ErrorCode.PROBING_SUSPECTED
    (hold,) = await holds(world)
    assert (hold.agency, hold.kind.value) == (POLICE, "upload")
    assert hold.figures["subjects_crowded"] == 25
    assert hold.figures["most_near_ones"] == 24
    # quarantined: not live, and asking again changes nothing
    async with world.broker._store.read() as tx:
        assert await tx.encodings.live(LINKAGE, 1, POLICE) == ()
    assert await refusal(world.police.commit(upload_id, 1, len(clks))) is ErrorCode.PROBING_SUSPECTED
    assert len(await holds(world)) == 1
    ((actor, body),) = await entries(world, "probing-suspected")
    assert (actor, body["hold"]) == (POLICE, hold.hold_id)

    with pytest.raises(HoldError, match="no hold"):
        await world.broker._holds.release(Release("0" * 16, "ada", "test"))
    await world.broker._holds.release(Release(hold.hold_id, "root.ada", "known duplicates of one import"))
    assert await world.police.commit(upload_id, 1, len(clks)) == len(clks)
    ((_, body),) = await entries(world, "hold-released")
    assert (body["officer"], body["reason"]) == ("root.ada", "known duplicates of one import")
    # the release is for this content, also when it is sent anew, and for no other
    again = await begun(world.police, epoch, clks)
    assert await world.police.commit(again, 1, len(clks)) == len(clks)
    other = await begun(world.police, epoch, np.concatenate([honest, variants(25, target=1)]))
    assert await refusal(world.police.commit(other, 1, len(clks))) is ErrorCode.PROBING_SUSPECTED


async def test_variants_spread_over_deltas_add_up(world: World) -> None:
    epoch = await world.open_epoch()
    clks = np.concatenate([person_clks(PEOPLE, seed=9), variants(30)])
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(PEOPLE), clks))
    refused_at = None
    for first in range(PEOPLE, PEOPLE + 30, 3):
        rows = batch(POLICE, range(first, first + 3), clks)
        try:
            await world.police.upload(epoch, LINKAGE, rows, mode=UploadMode.DELTA)
        except RefusedError as refused:
            assert refused.code is ErrorCode.PROBING_SUSPECTED
            refused_at = first - PEOPLE
            break
    assert refused_at == 18  # 18 got in, 3 more give each 20 neighbours


async def test_honest_duplicates_and_placeholders_pass(world: World) -> None:
    epoch = await world.open_epoch()
    placeholder = person_clks(1, seed=4).repeat(40, axis=0)
    doubles = noisy(person_clks(20), 20, 3)
    clks = np.concatenate([person_clks(PEOPLE), doubles, placeholder])
    rows = batch(POLICE, range(len(clks)), clks)
    assert await world.police.upload(epoch, LINKAGE, rows) == len(clks)
    # a former name is a further row of the same subject, not another subject
    one, further = handles(POLICE, range(1))[0], batch(POLICE, range(30), variants(30))
    rows = replace(further, handles=one * 30, row_numbers=bytes(range(30)))
    await world.police.upload(epoch, LINKAGE, rows, mode=UploadMode.DELTA)
    assert await holds(world) == ()


async def test_a_register_of_pairs_is_no_register_where_nobody_is_held_twice(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore(), watch={"near_percent": 10}) as world:
        epoch = await world.open_epoch()
        clks = np.concatenate([noisy(person_clks(80), 20, seed) for seed in (1, 2)])
        upload_id = await begun(world.police, epoch, clks)
        assert await refusal(world.police.commit(upload_id, 1, len(clks))) is ErrorCode.PROBING_SUSPECTED
        (hold,) = await holds(world)
        assert hold.figures["subjects_with_near_ones"] == 160
        assert hold.figures["subjects_crowded"] == 0


async def test_batches_that_come_in_during_the_commit_are_examined_too(world: World) -> None:
    """A rogue adds variants between the examination and the commit."""
    epoch = await world.open_epoch()
    uploads = world.broker._uploads
    examine = uploads._probing.examine
    upload_id = await begun(world.police, epoch, variants(10))
    late = await begun(world.police, epoch, variants(10))
    seen: list[int] = []

    async def slow(*args: object) -> object:
        found = await examine(*args)  # type: ignore[arg-type] # passed on as they came
        if not seen:
            seen.append(1)
            await world.police.commit(late, 1, 10)
        else:
            seen.append(2)
        return found

    uploads._probing.examine = slow  # type: ignore[method-assign,assignment] # a schedule that is rare
    assert await world.police.commit(upload_id, 1, 10) == 10
    assert len(seen) == 3  # its own examination twice, the other upload's once


async def test_data_sent_anew_for_ever_meets_a_quota(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore(), watch={"daily_turnover": 3}) as world:
        agreement = world.federation.agreement()
        agreement = replace(
            agreement, participants=tuple(Participant(item.agency, PEOPLE) for item in agreement.participants)
        )
        await world.police.publish(world.federation.signed_agreement(agreement))
        for client in world.participants:
            await client.confirm(LINKAGE, 1)
        epoch = await world.police.epoch(LINKAGE)
        for seed in range(3):
            await world.police.upload(epoch, LINKAGE, batch(POLICE, range(PEOPLE), person_clks(PEOPLE, seed)))
        for mode in (UploadMode.FULL, UploadMode.DELTA):
            rows = batch(POLICE, range(1), person_clks(1))
            assert (
                await refusal(world.police.upload(epoch, LINKAGE, rows, mode=mode))
                is ErrorCode.QUOTA_EXCEEDED
            )
        # growth by deltas meets the declared population
        care = batch(CARE, range(PEOPLE), person_clks(PEOPLE))
        await world.care.upload(epoch, LINKAGE, care)
        more = batch(CARE, range(PEOPLE, PEOPLE + 1), person_clks(PEOPLE + 1))
        growing = world.care.upload(epoch, LINKAGE, more, mode=UploadMode.DELTA)
        assert await refusal(growing) is ErrorCode.QUOTA_EXCEEDED
        world.broker._uploads._turnover._clock = lambda: world.federation.now + timedelta(hours=25)
        await world.police.upload(epoch, LINKAGE, batch(POLICE, range(PEOPLE), person_clks(PEOPLE)))


async def test_look_ups_of_one_target_in_variants(world: World) -> None:
    epoch = await world.open_epoch()
    await world.upload_all(PEOPLE)
    await world.police.run(LINKAGE, 1)
    for person in range(20):  # an honest officer's day, with one person asked for again and again
        for _ in range(2):
            await world.police.look_up(
                epoch, LINKAGE, batch(POLICE, range(person, person + 1), person_clks(PEOPLE))
            )
    tried = variants(10, target=40)
    answered = 0
    for number in range(10):
        rows = replace(batch(POLICE, range(1), tried[number : number + 1]), handles=secrets.token_bytes(16))
        try:
            await world.police.look_up(epoch, LINKAGE, rows)
            answered += 1
        except RefusedError as refused:
            assert refused.code is ErrorCode.PROBING_SUSPECTED
            break
    assert answered == 5
    (hold,) = await holds(world)
    assert (hold.agency, hold.kind.value, hold.figures["variants"]) == (POLICE, "look-ups", 6)
    honest = batch(POLICE, range(1), person_clks(PEOPLE))
    assert await refusal(world.police.look_up(epoch, LINKAGE, honest)) is ErrorCode.PROBING_SUSPECTED
    await world.care.look_up(epoch, LINKAGE, batch(CARE, range(1), person_clks(PEOPLE)))  # others go on
    await world.broker._holds.release(Release(hold.hold_id, "root.ada", "training"))
    await world.police.look_up(epoch, LINKAGE, honest)


async def test_look_ups_are_limited_by_day(tmp_path: Path) -> None:
    async with running_world(tmp_path, store=MemoryStore(), watch={"look_ups_per_day": 3}) as world:
        epoch = await world.open_epoch()
        await world.upload_all(5)
        await world.police.run(LINKAGE, 1)
        rows = batch(POLICE, range(1), person_clks(5))
        for _ in range(3):
            await world.police.look_up(epoch, LINKAGE, rows)
        assert await refusal(world.police.look_up(epoch, LINKAGE, rows)) is ErrorCode.RATE_LIMITED


async def test_links_that_leap_are_held_until_released(world: World) -> None:
    """The police add people who are all known to care: far more links than their usual overlap."""
    epoch = await world.open_epoch()
    known = person_clks(200)
    strangers = person_clks(200, seed=5)
    await world.care.upload(epoch, LINKAGE, batch(CARE, range(200), known))
    await world.nhs.upload(epoch, LINKAGE, batch(NHS, range(50), known))
    usual = np.concatenate([known[:30], strangers[:70]])
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(100), usual))
    await world.care.publish(world.federation.signed_policy(world.federation.policy()))
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    before = await told(world)
    assert before == 30 + 30  # with care, and with the NHS

    grown = np.concatenate([usual, known[30:190]])
    rows = batch(POLICE, range(100, 260), grown)
    await world.police.upload(epoch, LINKAGE, rows, mode=UploadMode.DELTA)
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    (hold,) = [item for item in await holds(world) if item.subject == POLICE]
    assert (hold.kind.value, hold.agency, hold.figures["links"]) == ("links", CARE, 190)
    assert (hold.figures["second_subjects_before"], hold.figures["second_subjects"]) == (100, 260)
    assert await told(world) <= before + 20  # at most the NHS's, whose growth is no leap
    # a further run does not tell them either
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(1), grown), mode=UploadMode.DELTA)
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    assert await told(world) <= before + 20
    assert len([item for item in await holds(world) if item.subject == POLICE]) == 1
    assert [body["hold"] for _, body in await entries(world, "match-rate-alarm")] == [hold.hold_id]

    await world.broker._holds.release(Release(hold.hold_id, "root.ada", "a new team joined"))

    async def all_told() -> bool:
        return await told(world) >= 190 + 30

    await until(all_told)
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    assert not [item for item in await holds(world) if item.open]


async def told(world: World) -> int:
    async with world.broker._store.read() as tx:
        return len(await tx.links.tokens(LINKAGE))


async def test_growth_that_sizes_explain_is_no_alarm(world: World) -> None:
    epoch = await world.open_epoch()
    clks = person_clks(300)
    await world.care.upload(epoch, LINKAGE, batch(CARE, range(100), clks))
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(50), clks))
    await world.police.run(LINKAGE, 1)
    await world.care.upload(epoch, LINKAGE, batch(CARE, range(300), clks))
    await world.police.upload(epoch, LINKAGE, batch(POLICE, range(120), clks))
    assert (await world.police.run(LINKAGE, 1)).state is RunState.DONE
    assert await holds(world) == ()
