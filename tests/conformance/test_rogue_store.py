"""What is held, and the figures of matching, on every back end; and what an agency that has left leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker import migrations
from broker.store.memory import MemoryStore
from broker.store.model import EpochRecord, Hold, HoldKind, MailboxLoad, MatchRate
from broker.store.ports import BrokerStore
from broker.store.sql import SqlStore, open_engine
from protos.wire.linkage import EpochState
from tests.conformance.broker_store import LATER, NOW, segment, upload


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'b.sqlite'}" if sqlite else request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    await migrations.upgrade(engine)
    sql = SqlStore(engine)
    yield sql
    await sql.close()


async def test_holds_and_rates(store: BrokerStore) -> None:
    first = Hold("h1", HoldKind.UPLOAD, "line", "police", "d" * 64, NOW, "why", {"near": 20})
    second = Hold("h2", HoldKind.LINKS, "other", "care", "police", LATER, "why", {})
    rates = (MatchRate("line", "care", "nhs", 1, 2, 3), MatchRate("line", "care", "police", 4, 5, 6))
    async with store.write() as tx:
        for hold in (second, first):
            await tx.holds.put(hold)
        await tx.holds.put_rates([rates[1], rates[0], MatchRate("other", "a", "b", 0, 0, 0)])
        await tx.holds.put_rates([])
    async with store.read() as tx:
        assert await tx.holds.listed() == (first, second)
        assert await tx.holds.listed("line") == (first,)
        assert await tx.holds.get("none") is None
        assert await tx.holds.rates("line") == rates
        assert await tx.relay.totals() == MailboxLoad(0, 0)
    released = replace(first, released=LATER)
    more = replace(rates[0], links=9)
    async with store.write() as tx:
        await tx.holds.put(released)
        await tx.holds.put_rates([more])
    async with store.read() as tx:
        assert await tx.holds.get("h1") == released
        assert not released.open
        assert await tx.holds.rates("line") == (more, rates[1])


async def test_an_agency_that_has_left(store: BrokerStore) -> None:
    async with store.write() as tx:
        for number, (agency, epoch) in enumerate((("police", 1), ("care", 1), ("care", 2))):
            record = upload(f"upload-{number}", agency, epoch)
            await tx.encodings.put_upload(record)
            await tx.encodings.stage(record, 0, "d", segment(agency, 2, number + 1))
            await tx.encodings.bump("line", epoch, agency)
        await tx.encodings.promote("upload-1")
    async with store.write() as tx:
        assert await tx.encodings.agencies("line") == ("care", "police")
        assert [item.upload_id for item in await tx.encodings.open_uploads("line", "care")] == [
            "upload-1",
            "upload-2",
        ]
        await tx.encodings.drop_agency("line", "care")
    async with store.read() as tx:
        assert await tx.encodings.agencies("line") == ("police",)
        assert await tx.encodings.open_uploads("line", "care") == ()
        assert await tx.encodings.sent_since("line", "care", LATER, "", open_too=True) == 0
        assert await tx.encodings.versions("line", 2) == {}
        assert await tx.encodings.upload("upload-0") is not None


async def test_what_an_agency_sent(store: BrokerStore) -> None:
    since = NOW - timedelta(days=1)
    first = upload("first".ljust(16, "-"), "care")
    uploads = (
        replace(first, rows=3, withdrawn=2, committed=True),  # 5, whatever was announced
        replace(
            first, upload_id="open".ljust(16, "-"), rows=3, withdrawn=1, touched=NOW - timedelta(hours=1)
        ),
        replace(first, upload_id="none".ljust(16, "-"), row_count=0, committed=True),  # 1
        replace(first, upload_id="old".ljust(16, "-"), touched=since),
        replace(first, upload_id="other".ljust(16, "-"), agency="police"),
        replace(first, upload_id="elsewhere".ljust(16, "-"), linkage="second"),
    )
    async with store.write() as tx:
        for item in uploads:
            await tx.encodings.put_upload(item)
    async with store.read() as tx:
        assert await tx.encodings.upload(first.upload_id) == uploads[0]
        assert await tx.encodings.sent_since("line", "care", since, "", open_too=True) == 5 + 11 + 1
        assert await tx.encodings.sent_since("line", "care", since, "", open_too=False) == 5 + 1
        others = await tx.encodings.sent_since("line", "care", since, first.upload_id, open_too=True)
        assert others == 11 + 1
        assert await tx.encodings.sent_since("line", "nhs", since, "", open_too=True) == 0
        assert await tx.encodings.open_uploads("line", "care") == (uploads[3], uploads[1])


async def test_who_opened_which_epoch(store: BrokerStore) -> None:
    by_agreement = EpochRecord("line", 1, EpochState.OPEN, "a" * 64, "b" * 64, NOW - timedelta(days=2))
    rotated = replace(by_agreement, epoch=2, created=NOW, opened_by="care", reason="suspicion")
    async with store.write() as tx:
        for item in (rotated, by_agreement, replace(rotated, linkage="second")):
            await tx.epochs.put(item)
    async with store.read() as tx:
        assert await tx.epochs.opened_since("line", NOW - timedelta(days=1)) == (rotated,)
        assert await tx.epochs.opened_since("line", NOW - timedelta(days=3)) == (by_agreement, rotated)
        assert await tx.epochs.current("line") == rotated
