"""A run after a few changes: reads and tells only those, also when links are held back or a run fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from broker import migrations
from broker.config import MatchingConfig, WatchConfig
from broker.holds import Release
from broker.links import LinkService
from broker.matching.engine import BlockSource, ThreadsEngine
from broker.matching.errors import EngineError
from broker.matching.tasks import BlockPairs, BlockTask, CancelFlag
from broker.store.model import MatchedPair, Subject
from broker.store.sql import SqlStore, open_engine
from broker.store.sql_encodings import SqlEncodings
from broker.store.sql_links import SqlLinks
from protos.wire.linkage import RunState, UploadMode
from tests.broker_services import UNSUSPICIOUS, BrokerServices
from tests.encodings import batch, handles, noisy, person_clks
from tests.federation import CARE, LINKAGE, POLICE, Federation

PEOPLE = 20
CLKS = person_clks(2 * PEOPLE)
SEEN = noisy(CLKS, 40, 1)
#: Links leap once there are two, and gain more than the sizes explain.
ALARMED = WatchConfig(near_subjects=1000, near_percent=100, daily_turnover=1000, match_rate_links=2)


async def services_on(folder: Path, watch: WatchConfig = UNSUSPICIOUS) -> BrokerServices:
    engine = open_engine(f"sqlite:///{folder / 'broker.sqlite'}")
    await migrations.upgrade(engine)
    services = await BrokerServices.create(
        SqlStore(engine), Federation.create(folder), folder / "matching", watch=watch
    )
    await services.share()
    return services


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[BrokerServices]:
    found = await services_on(tmp_path)
    yield found
    await found.stop()
    await found.store.close()


async def matched(services: BrokerServices, known_to_care: range) -> None:
    """The police know the first people, social care some."""
    await services.upload(POLICE, batch(POLICE, range(PEOPLE), CLKS), UploadMode.FULL)
    await services.upload(CARE, batch(CARE, known_to_care, SEEN), UploadMode.FULL)
    assert await services.run() is RunState.DONE
    await services.links.refresh()


async def known_to(services: BrokerServices) -> dict[bytes, bytes]:
    """What the police are told of: their handle to the token."""
    async with services.store.read() as tx:
        return {item.recipient.handle: item.token for item in await tx.links.tokens(LINKAGE)}


async def test_a_run_after_a_change_reads_only_what_changed(
    services: BrokerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await matched(services, range(5))
    before = await known_to(services)
    names = handles(CARE, range(PEOPLE))
    arrived = batch(CARE, range(5, 8), SEEN, withdrawn=(names[0],))
    await services.upload(CARE, arrived, UploadMode.DELTA)

    async def refuse(*_: object) -> None:
        raise AssertionError("everything was read")

    with monkeypatch.context() as patched:
        for role, name in ((SqlLinks, "pairs"), (SqlLinks, "tokens"), (SqlEncodings, "live")):
            patched.setattr(role, name, refuse)
        assert await services.run() is RunState.DONE
    after = await known_to(services)
    assert sorted(after) == sorted(handles(POLICE, range(PEOPLE))[1:8])
    assert {handle: after[handle] for handle in before if handle in after} == {
        handle: token for handle, token in before.items() if handle in after
    }


async def test_links_held_back_are_told_after_their_release(tmp_path: Path) -> None:
    services = await services_on(tmp_path, ALARMED)
    await matched(services, range(PEOPLE - 3, 2 * PEOPLE - 3))
    told = await known_to(services)
    assert len(told) == 3
    names = handles(CARE, range(PEOPLE))
    await services.upload(CARE, batch(CARE, range(12), SEEN), UploadMode.DELTA)
    assert await services.run() is RunState.DONE
    assert await known_to(services) == told
    gone = batch(CARE, range(0), SEEN, withdrawn=(names[-1], names[0]))
    await services.upload(CARE, gone, UploadMode.DELTA)
    assert await services.run() is RunState.DONE
    ours = handles(POLICE, range(PEOPLE))
    assert await known_to(services) == {handle: told[handle] for handle in ours[-3:-1]}
    async with services.store.read() as tx:
        (hold,) = await tx.holds.listed(LINKAGE)
    await services.holds.release(Release(hold.hold_id, "office.1", "Expected: a register was merged."))
    assert await services.run() is RunState.DONE
    assert sorted(await known_to(services)) == sorted([*ours[1:12], *ours[-3:-1]])
    await services.stop()
    await services.store.close()


async def test_what_a_failed_run_did_not_tell_is_told_by_the_next(
    services: BrokerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await matched(services, range(5))
    await services.upload(CARE, batch(CARE, range(5, 8), SEEN), UploadMode.DELTA)

    async def fail(*_: object) -> frozenset[str]:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(LinkService, "publish", fail)
        assert await services.run() is RunState.FAILED
    await services.upload(CARE, batch(CARE, range(8, 9), SEEN), UploadMode.DELTA)
    assert await services.run() is RunState.DONE
    assert sorted(await known_to(services)) == sorted(handles(POLICE, range(9)))


async def test_a_cluster_that_was_lost_is_connected_to_anew(
    services: BrokerServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[ThreadsEngine] = []

    class Lost(ThreadsEngine):
        def compare(
            self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
        ) -> Iterator[tuple[BlockTask, BlockPairs]]:
            yield next(super().compare(tasks, encodings, limit=limit, cancel=cancel))
            raise EngineError("the cluster gave up on a block")

    def connect(_config: MatchingConfig) -> ThreadsEngine:
        engines.append(ThreadsEngine(1) if engines else Lost(1))
        return engines[-1]

    monkeypatch.setattr(MatchingConfig, "open_engine", connect)
    await services.upload(POLICE, batch(POLICE, range(PEOPLE), CLKS), UploadMode.FULL)
    await services.upload(CARE, batch(CARE, range(5), SEEN), UploadMode.FULL)
    assert await services.run() is RunState.FAILED
    assert list((tmp_path / "matching" / "runs").iterdir()) == []  # nobody resumes what failed
    assert await services.run() is RunState.DONE
    assert len(engines) == 2
    assert len(await known_to(services)) == 5


async def test_what_runs_of_an_earlier_process_left_is_deleted(
    services: BrokerServices, tmp_path: Path
) -> None:
    left = tmp_path / "matching" / "runs" / "0123456789abcdef"
    left.mkdir(parents=True)
    (left / "task-00000000.npz").write_bytes(b"positions")
    await services.stop()
    again = await BrokerServices.create(services.store, services.federation, tmp_path / "matching")
    assert not left.exists()
    await again.stop()


async def test_who_is_withdrawn_while_a_run_works_is_in_no_link(
    services: BrokerServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await matched(services, range(5))
    await services.upload(CARE, batch(CARE, range(5, 8), SEEN), UploadMode.DELTA)
    names = handles(CARE, range(PEOPLE))
    publish = LinkService.publish

    async def publish_late(*given: object) -> frozenset[str]:
        told: list[MatchedPair] = given[4]  # type: ignore[assignment] # publish(self, tx, linkage, epoch, pairs, around)
        assert not {Subject(CARE, names[6])} & {pair.first for pair in told}
        return await publish(*given)  # type: ignore[arg-type] # as they came

    match = services.runs._matcher.match

    def match_late(*given: object) -> object:
        report = match(*given)  # type: ignore[arg-type] # as they came
        gone = batch(CARE, range(6, 6), SEEN, withdrawn=(names[6], names[1]))
        asyncio.run_coroutine_threadsafe(services.upload(CARE, gone, UploadMode.DELTA), loop).result()
        return report

    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patched:
        patched.setattr(LinkService, "publish", publish_late)
        patched.setattr(services.runs._matcher, "match", match_late)
        assert await services.run() is RunState.DONE
    expected = [handle for number, handle in enumerate(handles(POLICE, range(8))) if number not in (1, 6)]
    assert sorted(await known_to(services)) == sorted(expected)
    state = services.runs._matcher._held[LINKAGE].state
    assert state.subject_count() == PEOPLE + 6
