"""Kills a node at every step of a release, then lets it start again; run as a process of its own.

`python -m tests.simulator.killed_release FOLDER`: FOLDER/n/killed/care.db is what a kill -9 before the
n-th statement (or commit) left behind, and FOLDER/n/again/care.db what became of it when the broker delivered
the message once more. Prints how many steps there were.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

from sqlalchemy import event

import protos  # noqa: F401 - before anything imports grpc
from agency_node.disclosure.context import DisclosureSettings
from protos.wire.relay import IncomingMessage
from tests.simulator.disclosure_nodes import AcknowledgingRelay, SimNode, World, make_world, open_node

MOST_STEPS = 200
#: At each of so many steps the node is started again.
AGAIN_EVERY = 5


async def question(folder: Path) -> tuple[World, IncomingMessage]:
    """A world in which a request has reached the broker, and the message with it."""
    world = await make_world(folder)
    caught: list[IncomingMessage] = []
    await world.ask()
    await world.deliver(lambda message: caught.append(message))
    await world.close()
    return world, caught[0]


async def take(world: World, folder: Path, message: IncomingMessage, kill_at: int | None) -> None:
    """Lets social care's node in `folder` take the message, and kills the process at a step."""
    node: SimNode = open_node(
        folder,
        world.care.keys,
        world.clock,
        world.registries,
        DisclosureSettings(answer_seconds=0),
        world.care.records,
    )
    steps = 0

    def step(*_args: object) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(node.store.engine.sync_engine, "before_cursor_execute", step)
    event.listen(node.store.engine.sync_engine, "commit", step)
    await node.mailbox.take(AcknowledgingRelay(), message)
    step()
    await node.store.close()


def forked(world: World, folder: Path, message: IncomingMessage, kill_at: int | None) -> bool:
    """Runs `take` in a process of its own; whether it was killed."""
    child = os.fork()
    if child == 0:
        asyncio.run(take(world, folder, message, kill_at))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(folder: Path) -> int:
    """See the module; returns the number of steps at which the node was killed."""
    start = folder / "start"
    start.mkdir()
    world, message = asyncio.run(question(start))
    for step in range(1, MOST_STEPS):
        killed, again = folder / str(step) / "killed", folder / str(step) / "again"
        shutil.copytree(start, killed)
        if not forked(world, killed, message, step):
            shutil.rmtree(folder / str(step))
            return step - 1
        if step % AGAIN_EVERY == 0:
            shutil.copytree(killed, again)
            forked(world, again, message, None)
    raise AssertionError("a release has fewer steps than that")


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
