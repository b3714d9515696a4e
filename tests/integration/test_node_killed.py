"""A node that is killed in the middle of an upload goes on from there, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency_node.rpc.control_client import control_client
from protos.wire.errors import RefusedError
from tests.federation import CARE, LINKAGE, PASSPHRASE, POLICE
from tests.nodes import NodeFolder, person, running_nodes, until

PEOPLE = 1_500
BATCH_ROWS = 32


@asynccontextmanager
async def node_process(folder: NodeFolder) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tallystick node run`, as agency IT runs it."""
    ready = folder.folder / "ready"
    ready.unlink(missing_ok=True)
    with (folder.folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from tallystick.cli import main; main()",
            *("node", "run", "--config", str(folder.folder / "node.toml"), "--ready-file", str(ready)),
            env=os.environ | {"TALLYSTICK_PASSPHRASE": PASSPHRASE},
            stderr=log,
        )
    try:

        async def is_ready() -> bool:
            assert process.returncode is None, (folder.folder / "log").read_text()
            return ready.exists()

        await until(is_ready, 60)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            assert await process.wait() == 0


async def test_killed_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE), upload=f"batch_rows = {BATCH_ROWS}") as world:
        police = world.folders[POLICE]
        police.people(person(n) for n in range(PEOPLE))
        await world.agree((POLICE, CARE))
        await world.stop(POLICE)

        killed_at = 0
        async with node_process(police) as process, control_client(police.config.control_socket) as client:
            try:
                async for answer in client.sync(LINKAGE, full=False):
                    progress = answer.progress
                    if progress.stage == "send" and 3 <= progress.done < progress.total - 3:
                        killed_at = progress.done
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
            except RefusedError:
                pass
        assert killed_at, "the upload was over before it could be interrupted"

        sent: list[int] = []
        async with node_process(police), control_client(police.config.control_socket) as client:
            async for answer in client.sync(LINKAGE, full=False):
                if answer.progress.stage == "send":
                    sent.append(answer.progress.done)
            assert answer.progress.counts["subjects_changed"] == 0
            status = await client.status()
        assert sent[0] >= killed_at
        assert status.linkages[0].subjects == PEOPLE

        events = [json.loads(line) for line in (police.folder / "log").read_text().splitlines()]
        committed = [event for event in events if event["event"] == "upload committed"]
        assert [(event["rows"], event["held"]) for event in committed] == [(PEOPLE, PEOPLE)]
