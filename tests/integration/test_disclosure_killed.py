"""Commit before release: whatever a kill -9 leaves behind, nothing can leave without its audit entry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from agency_node.store.store import NodeStore
from tests.simulator.killed_release import AGAIN_EVERY
from tests.simulator.policies import NOW


async def left_behind(database: Path) -> tuple[int, int, int]:
    """How many answers are queued, releases in the audit log, and messages noted as received."""
    store = NodeStore.open(f"sqlite:///{database}")
    async with store.transaction() as tx:
        queued = [item for item in await tx.outbox.due(NOW) if item.purpose == "disclosure-answer"]
        actions = [entry.leaf.action.value async for entry in tx.audit.entries()]
        requests = await tx.requests.listed()
        noted = sum(request.state.value == "released" for request in requests)
    await store.close()
    return len(queued), actions.count("disclosure-released"), noted


def killed_at_every_step(folder: Path) -> int:
    """Fills the folder as the module says; returns the number of steps."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulator.killed_release", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return int(done.stdout)


async def test_killed_at_every_step_an_answer_is_queued_exactly_when_it_is_on_record(tmp_path: Path) -> None:
    steps = await asyncio.to_thread(killed_at_every_step, tmp_path)
    assert steps > 20
    seen = set()
    for step in range(1, steps + 1):
        queued, audited, noted = await left_behind(tmp_path / str(step) / "killed" / "care.db")
        assert queued == audited == noted, f"step {step}"
        seen.add(queued)
        again = tmp_path / str(step) / "again" / "care.db"
        if step % AGAIN_EVERY == 0:
            assert await left_behind(again) == (1, 1, 1), f"step {step}"
    assert seen == {0, 1}
