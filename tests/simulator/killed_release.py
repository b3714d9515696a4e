"""Kills a node at every step of something that it does, then lets it do that once more.

`kill_at_every_step(FOLDER, SCENE)` leaves in the folder, each with the node's database in it: `start`, where
the scene begins; `finished`, where nobody killed the node; `n/killed`, what a kill -9 before the n-th
statement (or commit) left behind; and `n/again`, what became of that when the same came once more. Where a
kill left what the one before it had left, byte for byte, there is no `n/again`: the node would do the same.
Once something has happened there is one for every fifth step only.

It forks, and so must run in a process that has no other threads.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import closing, suppress
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import event

import protos  # noqa: F401 - before anything imports grpc
from agency_node.disclosure.context import DisclosureSettings
from protos.wire.errors import RefusedError
from tests.simulator.disclosure_nodes import open_node
from tests.simulator.release_scenes import SCENES, Scene

MOST_STEPS = 300
AGAIN_EVERY = 5


def kill_at_every_step(folder: Path, name: str) -> None:
    """See the module."""
    start = folder / "start"
    start.mkdir()
    scene = asyncio.run(SCENES[name](start))
    finished = folder / "finished"
    shutil.copytree(start, finished)
    if _forked(scene, finished, None) != 0:
        raise AssertionError("what nobody kills must not fail")
    before, untouched = None, content(start / f"{scene.agency}.db")
    for step in range(1, MOST_STEPS):
        killed, again = folder / str(step) / "killed", folder / str(step) / "again"
        shutil.copytree(start, killed)
        if _forked(scene, killed, step) == 0:
            shutil.rmtree(folder / str(step))
            return
        shutil.copytree(killed, again)
        left = content(killed / f"{scene.agency}.db")
        if left == before or (before not in (None, untouched) and step % AGAIN_EVERY):
            shutil.rmtree(again)
        elif _forked(scene, again, None, refusable=True) != 0:
            raise AssertionError(f"after a kill at step {step} it failed")
        before = left
    raise AssertionError("there are fewer steps than that")


def content(database: Path) -> str:
    """Everything in a database, as SQL."""
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(connection.iterdump())


def _forked(scene: Scene, folder: Path, kill_at: int | None, *, refusable: bool = False) -> int:
    """Runs the scene in a process of its own; 0 unless it was killed.

    Raises:
        AssertionError: it failed.
    """
    child = get_context("fork").Process(target=_run, args=(scene, folder, kill_at, refusable))
    child.start()
    child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        raise AssertionError(f"ended with {child.exitcode}")
    return child.exitcode


def _run(scene: Scene, folder: Path, kill_at: int | None, refusable: bool) -> None:
    with suppress(*([RefusedError] if refusable else [])):
        asyncio.run(_act(scene, folder, kill_at))


async def _act(scene: Scene, folder: Path, kill_at: int | None) -> None:
    world, before = scene.world, scene.world.nodes[scene.agency]
    settings = DisclosureSettings(answer_seconds=0)
    node = open_node(folder, before.keys, world.clock, world.registries, settings, before.records)
    steps = 0

    def step(*_args: object) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(node.store.engine.sync_engine, "before_cursor_execute", step)
    event.listen(node.store.engine.sync_engine, "commit", step)
    try:
        await scene.act(node)
        step()
    finally:
        await node.store.close()
