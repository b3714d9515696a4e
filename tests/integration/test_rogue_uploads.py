"""A member that evades the bounds of uploads: many at once, withdrawals without end, one target by turns."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from broker.config import WatchConfig
from broker.holds import Release
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.limits import LIMITS
from protos.wire.linkage import EncodingBatch, UploadMode, UploadStart
from tests.broker_services import EPOCH, BrokerServices, opened
from tests.encodings import batch, handles, noisy, person_clks
from tests.federation import CARE, LINKAGE, POLICE, Federation

PEOPLE = 20


async def services(tmp_path: Path, **watch: int) -> BrokerServices:
    """A linkage whose participants declared `PEOPLE` subjects each."""
    federation = Federation.create(tmp_path)
    agreement = federation.agreement()
    few = tuple(replace(item, declared_population=PEOPLE) for item in agreement.participants)
    federation.agreement = lambda *_: replace(agreement, participants=few)  # type: ignore[method-assign]
    return await opened(tmp_path, federation, WatchConfig(**watch))


async def begun(found: BrokerServices, rows: int, mode: UploadMode = UploadMode.FULL) -> str:
    name = secrets.token_hex(16)
    start = UploadStart(str(LINKAGE), EPOCH, found.schema_hash, name, mode, rows)
    await found.uploads.begin(POLICE, start)
    return name


async def sent(found: BrokerServices, name: str, *batches: EncodingBatch) -> None:
    for sequence, rows in enumerate(batches):
        await found.uploads.take(POLICE, name, sequence, rows)
    await found.uploads.commit(POLICE, name, len(batches), sum(rows.rows for rows in batches))


async def refused(found: BrokerServices, name: str, *batches: EncodingBatch) -> ErrorCode:
    with pytest.raises(RefusedError) as caught:
        await sent(found, name, *batches)
    return caught.value.code


async def test_uploads_begun_together_keep_the_bound_together(tmp_path: Path) -> None:
    found = await services(tmp_path)
    clks = person_clks(60 * PEOPLE, seed=5)
    names = [await begun(found, PEOPLE) for _ in range(60)]
    people = 0
    for number, name in enumerate(names):
        try:
            await sent(found, name, batch(POLICE, range(PEOPLE), clks[number * PEOPLE :][:PEOPLE]))
            people += PEOPLE
        except RefusedError as refusal:
            assert refusal.code is ErrorCode.UPLOAD_UNKNOWN
    assert people == LIMITS.open_uploads * PEOPLE
    # at once or one after another, 4 times what it may hold is all for a day
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), clks), UploadMode.FULL)
    with pytest.raises(RefusedError, match="TS4011"):
        await begun(found, 1)
    found.uploads._turnover._clock = lambda: found.federation.now + timedelta(hours=25)
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), clks), UploadMode.FULL)


async def test_a_bound_that_was_kept_at_the_beginning_is_looked_at_again_at_the_end(tmp_path: Path) -> None:
    found = await services(tmp_path)
    name = await begun(found, PEOPLE)
    async with found.store.write() as tx:  # as if it had been begun before any bound was there
        upload = await tx.encodings.upload(name)
        assert upload is not None
        await tx.encodings.put_upload(
            replace(upload, upload_id="earlier" * 3, rows=4 * PEOPLE, committed=True)
        )
    assert await refused(found, name, batch(POLICE, range(PEOPLE), person_clks(PEOPLE))) is (
        ErrorCode.QUOTA_EXCEEDED
    )


async def test_a_new_upload_ends_the_oldest_open_one_and_the_newest_are_resumed(tmp_path: Path) -> None:
    found = await services(tmp_path)
    rows = batch(POLICE, range(5), person_clks(5))
    names = [await begun(found, 5) for _ in range(LIMITS.open_uploads)]
    for name in names:
        await found.uploads.take(POLICE, name, 0, rows)
        found.federation.now += timedelta(minutes=1)
    await begun(found, 5)
    async with found.store.read() as tx:
        staged = [bool(await tx.encodings.staged(name)) for name in names]
    assert staged == [False] + [True] * (LIMITS.open_uploads - 1)
    assert await found.uploads.commit(POLICE, names[-1], 1, 5) == 5


async def test_a_node_that_lost_its_upload_is_not_kept_waiting_by_it(tmp_path: Path) -> None:
    found = await services(tmp_path, daily_turnover=1)
    await begun(found, PEOPLE)
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), person_clks(PEOPLE)), UploadMode.FULL)


async def test_withdrawals_are_bounded_by_what_can_be_held(tmp_path: Path) -> None:
    """An upload that announced no rows was a stream without an end."""
    found = await services(tmp_path)
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), person_clks(PEOPLE)), UploadMode.FULL)
    empty = batch(POLICE, range(0), person_clks(1))

    def withdrawing(count: int) -> EncodingBatch:
        return replace(empty, withdrawn=tuple(secrets.token_bytes(16) for _ in range(count)))

    name = await begun(found, 0, UploadMode.DELTA)
    assert await refused(found, name, withdrawing(PEOPLE + 1)) is ErrorCode.QUOTA_EXCEEDED
    assert await refused(found, name, withdrawing(PEOPLE), withdrawing(1)) is ErrorCode.QUOTA_EXCEEDED
    name = await begun(found, 0, UploadMode.DELTA)
    assert await refused(found, name, *[empty] * (PEOPLE + 2)) is ErrorCode.TOO_LARGE
    accepted = 0
    with pytest.raises(RefusedError, match="TS4011"):
        for _ in range(100):
            await sent(found, await begun(found, 0, UploadMode.DELTA), withdrawing(PEOPLE))
            accepted += 1
    assert accepted == 4  # with the rows, five times what it may hold
    async with found.store.read() as tx:
        assert (await tx.encodings.held(LINKAGE, EPOCH))[POLICE] == PEOPLE  # unknown handles have no effect


async def test_withdrawing_is_still_possible_when_rows_are_used_up(tmp_path: Path) -> None:
    found = await services(tmp_path)
    rows = batch(POLICE, range(PEOPLE), person_clks(PEOPLE))
    for _ in range(4):
        await found.upload(POLICE, rows, UploadMode.FULL)
    with pytest.raises(RefusedError, match="TS4011"):
        await found.upload(POLICE, rows, UploadMode.FULL)
    gone = replace(batch(POLICE, range(0), person_clks(1)), withdrawn=tuple(handles(POLICE, range(PEOPLE))))
    await sent(found, await begun(found, 0, UploadMode.DELTA), gone)
    async with found.store.read() as tx:
        assert (await tx.encodings.held(LINKAGE, EPOCH))[POLICE] == 0


async def test_empty_uploads_count_too(tmp_path: Path) -> None:
    found = await services(tmp_path)
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), person_clks(PEOPLE)), UploadMode.FULL)
    accepted = 0
    with pytest.raises(RefusedError, match="TS4011"):
        for _ in range(1000):
            await sent(found, await begun(found, 0, UploadMode.DELTA))
            accepted += 1
    assert accepted == 4 * PEOPLE


async def test_batches_are_bounded(tmp_path: Path) -> None:
    found = await services(tmp_path)
    name = await begun(found, PEOPLE)
    async with found.store.write() as tx:
        upload = await tx.encodings.upload(name)
        assert upload is not None
        await tx.encodings.put_upload(replace(upload, next_sequence=LIMITS.batches_per_upload - 1))
    one = batch(POLICE, range(1), person_clks(2))
    await found.uploads.take(POLICE, name, LIMITS.batches_per_upload - 1, one)
    with pytest.raises(RefusedError, match="TS9001"):
        await found.uploads.take(
            POLICE, name, LIMITS.batches_per_upload, batch(POLICE, range(1, 2), one_clk())
        )


def one_clk() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return person_clks(2)


@pytest.mark.parametrize("how", ["replaced", "withdrawn", "full"])
async def test_one_target_tried_by_turns_is_noticed(tmp_path: Path, how: str) -> None:
    """At no time is more than one variant held."""
    found = await opened(tmp_path, Federation.create(tmp_path), WatchConfig())
    honest = person_clks(PEOPLE, seed=9)
    await found.upload(POLICE, batch(POLICE, range(PEOPLE), honest), UploadMode.FULL)
    tries = noisy(person_clks(1, seed=77).repeat(40, axis=0), 30, 7)
    accepted = 0
    with pytest.raises(RefusedError, match="TS4016"):
        for number in range(40):
            person = PEOPLE + (number if how == "withdrawn" else 0)
            table = np.concatenate([honest, tries[:1].repeat(person - PEOPLE, axis=0), tries[number:][:1]])
            if how == "full":
                await found.upload(POLICE, batch(POLICE, range(person + 1), table), UploadMode.FULL)
            else:
                rows = batch(POLICE, range(person, person + 1), table)
                last = tuple(handles(POLICE, range(person))[-1:]) if number and how == "withdrawn" else ()
                await found.upload(POLICE, replace(rows, withdrawn=last), UploadMode.DELTA)
            accepted += 1
    assert accepted == 20
    async with found.store.read() as tx:
        (hold,) = await tx.holds.listed()
    assert hold.figures["most_near_ones"] == 20
    await found.holds.release(Release(hold.hold_id, "root.ada", "a test of the interface"))
    again = batch(POLICE, range(PEOPLE, PEOPLE + 1), np.concatenate([honest, tries[39:]]))
    await found.upload(POLICE, again, UploadMode.DELTA)


async def test_a_register_that_is_corrected_as_a_whole_passes(tmp_path: Path) -> None:
    """A new spelling of every street, twice a day, and then new handles for everybody."""
    found = await opened(tmp_path, Federation.create(tmp_path), WatchConfig())
    clks = person_clks(200)
    for seed in range(3):
        await found.upload(POLICE, batch(POLICE, range(200), noisy(clks, 10, seed)), UploadMode.FULL)
    same = noisy(clks, 10, 2)
    await found.upload(
        POLICE, replace(batch(POLICE, range(200), same), handles=secrets.token_bytes(3200)), UploadMode.FULL
    )
    async with found.store.read() as tx:
        assert await tx.holds.listed() == ()


async def test_filler_does_not_make_the_broker_forget_look_ups(tmp_path: Path) -> None:
    found = await opened(tmp_path, Federation.create(tmp_path), WatchConfig(look_ups_per_day=2_000))
    for agency in (POLICE, CARE):
        await found.upload(agency, batch(agency, range(PEOPLE), person_clks(PEOPLE)), UploadMode.FULL)
    tried = noisy(person_clks(1, seed=77).repeat(6, axis=0), 30, 7)
    filler = person_clks(1_500, seed=99)
    linkage = found.catalogue.linkage(LINKAGE)
    asked = 0

    async def ask(clks: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], number: int) -> None:
        rows = batch(POLICE, range(1), clks[number : number + 1])
        records = np.frombuffer(linkage.layout.pack(rows), np.uint8).reshape(1, -1)
        await found.look_ups._probing.require_look_up(linkage, EPOCH, POLICE, records)

    with pytest.raises(RefusedError, match="TS4016"):
        for number in range(6):
            if number == 5:
                for one in range(1_500):
                    await ask(filler, one)
            await ask(tried, number)
            asked += 1
    assert asked == 5


async def test_a_look_up_is_of_one_row_for_each_number(tmp_path: Path) -> None:
    """Thousands of variants as rows of one look-up would be one question."""
    found = await opened(tmp_path, Federation.create(tmp_path), WatchConfig())
    rows = batch(POLICE, range(2), person_clks(2))
    twice = replace(rows, handles=rows.handles[:16] * 2)
    with pytest.raises(RefusedError, match="TS4014"):
        await found.look_ups.look_up(POLICE, str(LINKAGE), EPOCH, found.schema_hash, twice)
