"""A broker whose configuration says `engine = "dask"`: the same links as with threads, over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster, Security

from broker.matching.dask_engine import DaskEngine
from broker.store.memory import MemoryStore
from broker.store.model import MatchedPair
from protos.linkage.v1 import linkage_pb2
from protos.wire.errors import ErrorCode
from protos.wire.linkage import RunProgress, RunState
from tests.broker_client import asked
from tests.broker_world import World, running_world
from tests.encodings import batch, noisy, person_clks
from tests.federation import LINKAGE

PEOPLE = 400
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """A small cluster behind TLS, as the broker's section `[matching]` names it."""
    folder = tmp_path_factory.mktemp("cluster")
    security = Security.temporary()
    names = {
        "ca": security.tls_ca_file,
        "certificate": security.tls_client_cert,
        "key": security.tls_client_key,
    }
    for name, content in names.items():
        (folder / f"{name}.pem").write_text(content)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        security=security,
        protocol="tls://",
        dashboard_address=None,
        memory_limit=None,
        local_directory=str(folder),
    ) as running:
        files: dict[str, object] = {name: str(folder / f"{name}.pem") for name in names}
        yield {
            "engine": "dask",
            "block_rows": 64,
            "cluster": files | {"address": running.scheduler_address},
        }


async def matched(world: World, people: int) -> tuple[list[RunProgress], tuple[MatchedPair, ...]]:
    await world.open_epoch()
    await world.upload_all(people)
    seen = await world.police.watch_run(await world.police.start_run(LINKAGE, 1))
    async with world.broker._store.read() as tx:
        return seen, await tx.links.pairs(LINKAGE)


async def test_a_cluster_links_what_threads_link(tmp_path: Path, cluster: dict[str, object]) -> None:
    (tmp_path / "a").mkdir()
    async with running_world(tmp_path / "a", store=MemoryStore(), matching=cluster) as world:
        seen, there = await matched(world, PEOPLE)
        assert seen[-1].state is RunState.DONE, seen[-1]
        assert seen[-1].total > 30
        # what changed alone is looked at next, and a single look-up is answered
        epoch = await world.police.epoch(LINKAGE)
        rows = batch(world.police.agency, range(1), person_clks(PEOPLE))
        await world.police.look_up(epoch, LINKAGE, rows)
    (tmp_path / "b").mkdir()
    async with running_world(tmp_path / "b", store=MemoryStore(), matching={"threads": 1}) as world:
        _, here = await matched(world, PEOPLE)
    assert there == here
    assert len(here) == 3 * PEOPLE


async def test_a_run_on_a_cluster_is_followed_and_cancelled(
    tmp_path: Path, cluster: dict[str, object]
) -> None:
    async with running_world(tmp_path, store=MemoryStore(), matching=cluster) as world:
        epoch = await world.open_epoch()
        clks = person_clks(3000)
        for seed, client in enumerate((world.police, world.care)):
            await client.upload(epoch, LINKAGE, batch(client.agency, range(3000), noisy(clks, 10, seed)))
        run_id = await world.police.start_run(LINKAGE, 1)
        watching = world.care.linkage.WatchRun(linkage_pb2.WatchRunRequest(run_id=run_id))
        async for progress in watching:
            if progress.done_units:
                break
        watching.cancel()
        await asked(world.police.linkage.CancelRun(linkage_pb2.CancelRunRequest(run_id=run_id)))
        assert (await world.care.watch_run(run_id))[-1].state is RunState.CANCELLED


async def test_a_cluster_out_of_reach_fails_the_run_not_the_broker(
    tmp_path: Path, cluster: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = DaskEngine.connect
    monkeypatch.setattr(DaskEngine, "connect", lambda config: connect(replace(config, timeout=1)))
    nowhere = cluster | {"cluster": cluster["cluster"] | {"address": "tls://127.0.0.1:9"}}  # type: ignore[operator] # a section
    async with running_world(tmp_path, store=MemoryStore(), matching=nowhere) as world:
        async with asyncio.timeout(60):
            seen, pairs = await matched(world, 5)
        assert seen[-1].state is RunState.FAILED
        assert seen[-1].message.startswith(ErrorCode.UNAVAILABLE)
        assert pairs == ()
        assert (await world.police.epoch(LINKAGE)).epoch == 1
