"""Commit before release: whatever a kill -9 leaves behind, what is queued is on record, and happens once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest

from agency_node.store.schema import METADATA
from crypto.audit import AuditLeaf
from crypto.merkle import CompleteNode, MerkleFrontier
from tests.simulator.killed_release import content, kill_at_every_step
from tests.simulator.release_scenes import SCENES

#: Of each scene: whose node it is, what it queues, and what it puts on record.
EFFECTS: dict[str, tuple[str, list[str], list[str]]] = {
    "answered": ("care", ["disclosure-answer"], ["disclosure-decided", "disclosure-released"]),
    "approved_by_the_provider": (
        "care",
        ["disclosure-answer"],
        ["approval-given", "disclosure-decided", "disclosure-released"],
    ),
    "approved_by_the_recipient": (
        "care",
        ["disclosure-answer"],
        ["approval-given", "disclosure-decided", "disclosure-released"],
    ),
    "pushed": ("care", ["disclosure-answer"], ["disclosure-decided", "disclosure-released"]),
    "corrected": (
        "care",
        ["disclosure-answer", "link-recall"],
        ["withdrawn", "disclosure-decided", "disclosure-released", "order-given"],
    ),
    "recalled": ("care", ["link-recall"], ["withdrawn", "order-given"]),
    "received": ("police", ["disclosure-receipt"], ["disclosure-received", "receipt-sent"]),
    "recall_received": ("police", ["erasure-receipt"], ["purged"]),
    "purged": ("police", ["erasure-receipt"], ["purged"]),
}
#: What keeping house does beside, in a transaction of its own: it shows the log's head to witnesses.
_WITNESSING = {"witness-request"}
_TABLES = METADATA.tables.keys() - {"outbox", "audit_checkpoints", "peer_logs"}


@dataclass(frozen=True, slots=True)
class Left:
    """What stands in a node's database."""

    queued: list[str]
    on_record: list[str]
    states: list[tuple[str, str, int]]
    rows: dict[str, int]


def left_behind(database: Path) -> Left:
    """Opens a database, and verifies its log."""
    with closing(sqlite3.connect(database)) as connection:
        query = connection.execute
        leaves = [leaf for (leaf,) in query("SELECT leaf FROM audit_entries ORDER BY seq")]
        frontier = MerkleFrontier()
        nodes = [node for leaf in leaves for node in frontier.append(leaf)]
        if leaves:
            head = query("SELECT size, peaks FROM audit_head").fetchone()
            assert head == (frontier.size, b"".join(frontier.peaks))
        held = query('SELECT level, "index", hash FROM audit_nodes')
        assert {CompleteNode(*row) for row in held} == set(nodes)
        requests = "SELECT direction, state, approvals FROM disclosure_requests"
        releases = "SELECT direction, state, wrapped IS NULL FROM disclosure_releases"
        return Left(
            sorted(row[0] for row in query("SELECT purpose FROM outbox") if row[0] not in _WITNESSING),
            [AuditLeaf.from_bytes(leaf).action.value for leaf in leaves],
            sorted([*query(requests), *query(releases)]),
            {name: query(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _TABLES},
        )


def killed(folder: Path, scene: str) -> None:
    """Fills the folder as the simulator says, in a process without threads that has the program loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.simulator.killed_release"])
    process = context.Process(target=kill_at_every_step, args=(folder, scene))
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_step_it_has_happened_with_its_record_or_not_at_all(
    tmp_path: Path, scene: str
) -> None:
    killed(tmp_path, scene)
    agency, queued, on_record = EFFECTS[scene]

    def database(*parts: str) -> Path:
        return tmp_path.joinpath(*parts, f"{agency}.db")

    untouched = content(database("start"))
    before, after = left_behind(database("start")), left_behind(database("finished"))
    assert after.queued == sorted([*before.queued, *queued])
    assert after.on_record == [*before.on_record, *on_record]
    steps = sum(folder.name.isdecimal() for folder in tmp_path.iterdir())
    assert steps > 15
    happened = []
    for step in map(str, range(1, steps + 1)):
        left = left_behind(database(step, "killed"))
        assert left == after or content(database(step, "killed")) == untouched, f"step {step}"
        happened.append(left == after)
        again = database(step, "again")
        if again.exists():
            assert left_behind(again) == after, f"step {step}"
    assert happened == sorted(happened) and set(happened) == {False, True}
