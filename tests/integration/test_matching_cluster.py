"""A Dask cluster gives the results of threads, over TLS, also when a worker dies in the middle."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Event

import numpy as np
import pytest
from distributed import Client, LocalCluster, Security

from broker.matching.candidates import RunControl
from broker.matching.dask_engine import DaskEngine
from broker.matching.engine import ClusterConfig, Engine, open_engine
from broker.matching.errors import EngineError, PairLimitError, RunCancelledError
from broker.matching.incremental import MatchState
from broker.matching.model import MatchSpec, PartyRows
from tests.simulator.matching import links, one_projection, overlapping_parties

AGENCIES = ["a", "b", "c"]
BLOCK_ROWS = 75

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterConfig]:
    """Two worker processes behind TLS, and the files to reach them."""
    folder = tmp_path_factory.mktemp("cluster")
    security = Security.temporary()
    names = {"ca": security.tls_ca_file, "cert": security.tls_client_cert, "key": security.tls_client_key}
    for name, content in names.items():
        (folder / f"{name}.pem").write_text(content)
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        security=security,
        protocol="tls://",
        dashboard_address=None,
        memory_limit=None,
        local_directory=str(folder),
    ) as running:
        address = running.scheduler_address
        yield ClusterConfig(address, folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


@pytest.fixture
def engine(cluster: ClusterConfig) -> Iterator[Engine]:
    with open_engine(cluster) as connected:
        yield connected


@pytest.fixture(scope="module")
def parties() -> list[PartyRows]:
    return overlapping_parties(np.random.default_rng(6), [300, 280, 320], people=250)


def _worker_pids(cluster: ClusterConfig) -> list[int]:
    security = Security(
        tls_ca_file=str(cluster.ca_file),
        tls_client_cert=str(cluster.cert_file),
        tls_client_key=str(cluster.key_file),
        require_encryption=True,
    )
    with Client(cluster.address, security=security, set_as_default=False) as client:
        pids: dict[str, int] = client.run(os.getpid)
        return list(pids.values())


def _pids_without(cluster: ClusterConfig, killed: int) -> list[int]:
    """The workers once the cluster has noticed that one is gone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError):  # asked of the dead one
            pids = _worker_pids(cluster)
            if pids and killed not in pids:
                return pids
        time.sleep(0.1)
    return [killed]


def _spec(*, one_to_one: bool = True) -> MatchSpec:
    return one_projection(0.6, one_to_one=one_to_one)


@pytest.mark.parametrize("one_to_one", [True, False])
def test_a_cluster_finds_what_threads_find(
    engine: Engine, parties: list[PartyRows], one_to_one: bool
) -> None:
    spec = _spec(one_to_one=one_to_one)
    control = RunControl(block_rows=BLOCK_ROWS)
    there = MatchState.build(spec, AGENCIES, parties, engine=engine, control=control)
    here = MatchState.build(spec, AGENCIES, parties)
    assert there.pair_count() == here.pair_count() > 0
    assert links(there.result().groups) == links(here.result().groups)


def test_a_worker_killed_in_the_middle_loses_nothing(
    cluster: ClusterConfig, engine: Engine, parties: list[PartyRows]
) -> None:
    pids = _worker_pids(cluster)
    assert len(pids) == 2
    steps: list[tuple[int, int]] = []

    def kill_one(done: int, total: int) -> None:
        steps.append((done, total))
        if len(steps) == 5:
            os.kill(pids[0], signal.SIGKILL)

    control = RunControl(progress=kill_one, block_rows=BLOCK_ROWS)
    state = MatchState.build(_spec(), AGENCIES, parties, engine=engine, control=control)
    assert len(steps) > 30
    assert steps[-1][0] == steps[-1][1]
    assert pids[0] not in _pids_without(cluster, pids[0])
    expected = MatchState.build(_spec(), AGENCIES, parties)
    assert state.pair_count() == expected.pair_count()
    assert links(state.result().groups) == links(expected.result().groups)


def test_errors_and_cancelling_come_through(engine: Engine, parties: list[PartyRows]) -> None:
    low = one_projection(0.05, limit=2000)
    with pytest.raises(PairLimitError, match="limit of 2,000"):
        MatchState.build(low, AGENCIES, parties, engine=engine, control=RunControl(block_rows=BLOCK_ROWS))
    cancel = Event()
    control = RunControl(progress=lambda _done, _total: cancel.set(), cancel=cancel, block_rows=BLOCK_ROWS)
    with pytest.raises(RunCancelledError):
        MatchState.build(_spec(), AGENCIES, parties, engine=engine, control=control)


def test_only_tls_is_spoken(cluster: ClusterConfig) -> None:
    plain = cluster.address.replace("tls://", "tcp://")
    with pytest.raises(EngineError, match="must begin with tls://"):
        DaskEngine.connect(ClusterConfig(plain, cluster.ca_file, cluster.cert_file, cluster.key_file))
    with pytest.raises(EngineError, match="cannot reach"):
        nobody = "tls://127.0.0.1:9"
        DaskEngine.connect(
            ClusterConfig(nobody, cluster.ca_file, cluster.cert_file, cluster.key_file, timeout=1)
        )
