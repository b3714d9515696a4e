"""Long runs report, stop, resume and keep what they computed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from broker.matching.candidates import RunControl
from broker.matching.checkpoint import RunDirectory, rows_hash
from broker.matching.engine import BlockSource, ClusterConfig, ThreadsEngine, open_engine
from broker.matching.errors import CheckpointError, EngineError, RunCancelledError
from broker.matching.fingerprint import fingerprints
from broker.matching.incremental import MatchState
from broker.matching.model import PartyRows
from broker.matching.snapshot import Snapshot
from broker.matching.submission import Withdrawal
from broker.matching.tasks import BlockPairs, BlockTask, CancelFlag
from tests.simulator.matching import links, one_projection, overlapping_parties

AGENCIES = ["a", "b", "c"]
BLOCK_ROWS = 40
SPEC = one_projection(0.6)


def rows(seed: int = 6) -> list[PartyRows]:
    return overlapping_parties(np.random.default_rng(seed), [150, 130, 170], people=120)


def test_the_engine_follows_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_engine(threads=1) as engine:
        assert isinstance(engine, ThreadsEngine)
    # As where the extra is not installed.
    monkeypatch.setitem(sys.modules, "broker.matching.dask_engine", None)
    nothing = Path("none.pem")
    cluster = ClusterConfig("tls://127.0.0.1:8786", nothing, nothing, nothing)
    with pytest.raises(EngineError, match=r"tallystick\[cluster\]"), open_engine(cluster):
        pass


class CountingEngine(ThreadsEngine):
    """Remembers how many tasks it was given."""

    given = 0

    def compare(
        self, tasks: Sequence[BlockTask], encodings: BlockSource, *, limit: int, cancel: CancelFlag
    ) -> Iterator[tuple[BlockTask, BlockPairs]]:
        self.given = len(tasks)
        return super().compare(tasks, encodings, limit=limit, cancel=cancel)


@pytest.mark.parametrize("one_to_one", [True, False])
@pytest.mark.parametrize("block_rows", [17, 40, 10_000])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_do_not_change_results(one_to_one: bool, block_rows: int, threads: int) -> None:
    spec = one_projection(0.6, one_to_one=one_to_one)
    expected = MatchState.build(spec, AGENCIES, rows())
    state = MatchState.build(
        spec, AGENCIES, rows(), engine=ThreadsEngine(threads), control=RunControl(block_rows=block_rows)
    )
    assert state.pair_count() == expected.pair_count() > 0
    assert links(state.result().groups) == links(expected.result().groups)


def test_progress_rises_to_all_comparisons() -> None:
    steps: list[tuple[int, int]] = []
    control = RunControl(progress=lambda done, total: steps.append((done, total)), block_rows=BLOCK_ROWS)
    MatchState.build(SPEC, AGENCIES, rows(), control=control)
    total = 150 * 130 + 150 * 170 + 130 * 170
    assert {step[1] for step in steps} == {total}
    assert [step[0] for step in steps] == sorted({step[0] for step in steps})
    assert steps[-1] == (total, total)


def test_a_cancelled_run_stops_and_a_later_one_goes_on(tmp_path: Path) -> None:
    cancel = Event()
    steps = 0

    def stop_soon(_done: int, _total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            cancel.set()

    def directory() -> RunDirectory:
        return RunDirectory(tmp_path / "run", SPEC, rows(), BLOCK_ROWS)

    control = RunControl(stop_soon, cancel, directory(), BLOCK_ROWS)
    with pytest.raises(RunCancelledError):
        MatchState.build(SPEC, AGENCIES, rows(), control=control)
    kept = len(list((tmp_path / "run").glob("task-*.npz")))
    assert 5 <= kept < 10

    engine = CountingEngine()
    resumed = MatchState.build(
        SPEC,
        AGENCIES,
        rows(),
        engine=engine,
        control=RunControl(directory=directory(), block_rows=BLOCK_ROWS),
    )
    fresh = CountingEngine()
    whole = MatchState.build(SPEC, AGENCIES, rows(), engine=fresh, control=RunControl(block_rows=BLOCK_ROWS))
    assert engine.given == fresh.given - kept
    assert links(resumed.result().groups) == links(whole.result().groups)


CHILD = """
import sys, time
from pathlib import Path
from tests.unit.test_matching_engine import AGENCIES, BLOCK_ROWS, SPEC, rows
from broker.matching.candidates import RunControl
from broker.matching.checkpoint import RunDirectory
from broker.matching.fingerprint import fingerprints
from broker.matching.incremental import MatchState

directory = RunDirectory(Path(sys.argv[1]), SPEC, rows(), BLOCK_ROWS)
tasks = 0

def stay(done, total):
    global tasks
    tasks += 1
    if tasks == 8:
        time.sleep(600)  # until it is killed

control = RunControl(stay, directory=directory, block_rows=BLOCK_ROWS)
MatchState.build(SPEC, AGENCIES, rows(), control=control)
"""


@pytest.mark.timeout(120)
def test_a_killed_run_is_resumed_with_the_same_results(tmp_path: Path) -> None:
    run = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(run)], cwd=Path(__file__).parents[2]
    )
    while len(list(run.glob("task-*.npz"))) < 8:
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = len(list(run.glob("task-*.npz")))

    engine = CountingEngine()
    directory = RunDirectory(run, SPEC, rows(), BLOCK_ROWS)
    control = RunControl(directory=directory, block_rows=BLOCK_ROWS)
    resumed = MatchState.build(SPEC, AGENCIES, rows(), engine=engine, control=control)
    whole = MatchState.build(SPEC, AGENCIES, rows())
    assert kept == 8
    assert engine.given > 0
    assert resumed.pair_count() == whole.pair_count()
    assert links(resumed.result().groups) == links(whole.result().groups)
    directory.clear()
    assert not run.exists()


def test_a_damaged_result_is_computed_again(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, SPEC, rows(), BLOCK_ROWS)
    control = RunControl(directory=directory, block_rows=BLOCK_ROWS)
    whole = MatchState.build(SPEC, AGENCIES, rows(), control=control)
    first, second, *_ = sorted(tmp_path.glob("task-*.npz"))
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"")
    engine = CountingEngine()
    again = MatchState.build(SPEC, AGENCIES, rows(), engine=engine, control=control)
    assert engine.given == 2
    assert links(again.result().groups) == links(whole.result().groups)


def test_a_run_directory_serves_one_run_only(tmp_path: Path) -> None:
    RunDirectory(tmp_path, SPEC, rows(), BLOCK_ROWS)
    RunDirectory(tmp_path, SPEC, list(reversed(rows())), BLOCK_ROWS)
    for spec, parties, block_rows in (
        (SPEC, rows(7), BLOCK_ROWS),
        (one_projection(0.61), rows(), BLOCK_ROWS),
        (SPEC, rows(), BLOCK_ROWS + 1),
    ):
        with pytest.raises(CheckpointError, match="other rows or by another agreement"):
            RunDirectory(tmp_path, spec, parties, block_rows)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        RunDirectory(tmp_path, SPEC, rows(), BLOCK_ROWS)


def test_the_hash_of_rows_sees_every_column() -> None:
    (one,) = rows()[:1]
    seen = {rows_hash([one])}
    for change in ("handles", "row_numbers", "clks", "present"):
        (other,) = rows()[:1]
        column = getattr(other, change)
        (column["person"] if isinstance(column, dict) else column)[3] ^= 1
        seen.add(rows_hash([other]))
    assert len(seen) == 5


def test_the_fingerprint_sees_every_column_and_no_order() -> None:
    (one,) = rows()[:1]

    def total(party: PartyRows) -> tuple[int, ...]:
        return tuple(fingerprints(SPEC, party).sum(axis=0, dtype=np.uint64).tolist())

    assert total(one.take(np.arange(150)[::-1])) == total(one)
    seen = {total(one)}
    for change in ("handles", "row_numbers", "clks", "present"):
        (other,) = rows()[:1]
        column = getattr(other, change)
        (column["person"] if isinstance(column, dict) else column)[3] ^= 1
        seen.add(total(other))
    swapped = one.take(np.arange(150))
    swapped.clks["person"][[0, 1]] = swapped.clks["person"][[1, 0]]
    seen.add(total(swapped))
    assert len(seen) == 6
    absent = one.take(np.arange(150))
    absent.present["person"][0] = False
    before = total(absent)
    absent.clks["person"][0] ^= 255
    assert total(absent) == before


def test_a_snapshot_spares_the_run_after_a_restart(tmp_path: Path) -> None:
    *first, last = rows()
    state = MatchState.build(SPEC, AGENCIES, first)
    state.apply(add=[last])
    gone = first[0].handles[:20]
    state.apply(withdraw=[Withdrawal("a", gone)])
    state.snapshot().save(tmp_path / "groups.npz")

    held = [first[0].take(np.arange(20, 150)), first[1], last]
    engine = CountingEngine()
    restarted = MatchState.build(
        SPEC, AGENCIES, held, engine=engine, snapshot=Snapshot.load(tmp_path / "groups.npz")
    )
    assert engine.given == 0
    assert restarted.result() == state.result()
    again = first[0].take(np.arange(20))
    assert restarted.apply(add=[again]).removed == ()
    state.apply(add=[again])
    assert links(restarted.result().groups) == links(state.result().groups)


def test_a_snapshot_of_other_rows_is_not_used_but_ids_can_be_kept(tmp_path: Path) -> None:
    parties = rows()
    state = MatchState.build(SPEC, AGENCIES, parties, new_bytes=random.Random(1).randbytes)
    state.snapshot().save(tmp_path / "groups.npz")
    before = state.result().groups
    fewer = [parties[0].take(np.arange(1, 150)), *parties[1:]]
    engine = CountingEngine()
    restarted = MatchState.build(
        SPEC, AGENCIES, fewer, engine=engine, snapshot=Snapshot.load(tmp_path / "groups.npz"), previous=before
    )
    assert engine.given > 0
    old = {group.members: group.id for group in before}
    kept = [group for group in restarted.result().groups if group.members in old]
    assert len(kept) >= len(before) - 2
    assert all(old[group.members] == group.id for group in kept)


def test_a_damaged_snapshot_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.npz"
    with pytest.raises(CheckpointError, match="cannot read"):
        Snapshot.load(path)
    MatchState.build(SPEC, AGENCIES, rows()).snapshot().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="cannot read"):
        Snapshot.load(path)


def test_a_large_submission_reports_and_can_be_cancelled() -> None:
    first, second, third = rows()
    state = MatchState.build(SPEC, AGENCIES, [first, second])
    before = state.result()
    cancel = Event()
    with pytest.raises(RunCancelledError):
        state.apply(add=[third], control=RunControl(lambda _done, _total: cancel.set(), cancel))
    assert state.result() == before
    assert not state.holds("c", third.handles).any()

    steps: list[tuple[int, int]] = []
    state.apply(add=[third], control=RunControl(lambda done, total: steps.append((done, total))))
    assert steps == sorted(steps)
    assert steps[-1] == (170 * 280, 170 * 280)


def test_compacting_changes_no_result() -> None:
    first, second, third = rows()
    state = MatchState.build(SPEC, AGENCIES, [first])
    state.apply(add=[second])
    state.apply(withdraw=[Withdrawal("a", first.handles[:40])], change=[second])
    expected = MatchState.build(SPEC, AGENCIES, [first.take(np.arange(40, 150)), second, third])
    state.compact()
    state.apply(add=[third])
    assert links(state.result().groups) == links(expected.result().groups)
    assert state.encoding_count() == expected.encoding_count()


def test_lookups_go_on_while_submissions_come() -> None:
    first, second, third = rows()
    state = MatchState.build(SPEC, AGENCIES, [first, second])
    asked = first.take(np.arange(1))
    expected = {hit.member for hit in state.lookup(asked)}
    stop = Event()

    def look_up() -> int:
        count = 0
        while not stop.is_set():
            found = {hit.member for hit in state.lookup(asked) if hit.member.agency == "b"}
            assert found == expected
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look_up)
        for _ in range(5):
            state.apply(add=[third])
            state.apply(withdraw=[Withdrawal("c", third.handles)])
        stop.set()
        assert looking.result() > 0
