"""A node that is killed in the middle of an upload goes on from there, and nothing is counted twice.

What it leaves on the disk tells nobody anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agency_node.rpc.control_client import control_client
from protos.wire.errors import RefusedError
from tests.federation import CARE, LINKAGE, PASSPHRASE, POLICE
from tests.nodes import NodeFolder, person, running_nodes, until

PEOPLE = 1_500
#: More than are read at once, so that there is a time at which some were read and others were not.
MANY_PEOPLE = 11_000
ALIAS = "Zebedeus"
_ALIASES = """
[[people.aliases]]
table = "aliases.csv"
subject_id = "id"
fields = { family_name = "alias" }
"""
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


async def test_killed_while_it_reads_people(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        police = world.folders[POLICE]
        spool = police.config.spool_dir
        police.people(person(n) for n in range(MANY_PEOPLE))
        aliases = "".join(f"p{n},{ALIAS}{n}\n" for n in range(300))
        (police.folder / "aliases.csv").write_text(f"id,alias\n{aliases}")
        mapping = police.folder / "mapping.toml"
        mapping.write_text(mapping.read_text() + _ALIASES)
        await world.agree((POLICE, CARE))
        await world.stop(POLICE)

        open_to_others: set[Path] = set()
        nameless: list[os.stat_result] = []
        async with node_process(police) as process, control_client(police.config.control_socket) as client:
            watch = asyncio.create_task(_watch(spool, open_to_others))
            try:
                async for answer in client.sync(LINKAGE, full=False):
                    if answer.progress.stage == "read" and process.returncode is None:
                        nameless = _nameless_files(process.pid, spool)
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
            except RefusedError:
                pass
            finally:
                watch.cancel()
        assert nameless, "nothing was being read any more"
        assert all(stat.S_IMODE(file.st_mode) == 0o600 for file in nameless)
        left = _files(spool)
        assert left
        assert {path.suffix for path in left} == {".rows"}
        assert not open_to_others
        assert not [path for path in _files(police.config.data_dir) if ALIAS.encode() in path.read_bytes()]

        index = spool / "tallystick-source-of-an-earlier-version"
        index.mkdir()
        (index / "rows.db").write_text(ALIAS)
        async with node_process(police):
            assert list(spool.iterdir()) == []
            assert stat.S_IMODE(spool.stat().st_mode) == 0o700


async def _watch(folder: Path, open_to_others: set[Path]) -> None:
    """Adds what somebody else may read, as often as there is time to look."""
    while True:
        open_to_others |= {path for path in (folder, *_all_in(folder)) if _is_open_to_others(path)}
        await asyncio.sleep(0.005)


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except FileNotFoundError:
        return False


def _nameless_files(pid: int, folder: Path) -> list[os.stat_result]:
    """What a process has open that was deleted from the folder."""
    links = list(Path(f"/proc/{pid}/fd").iterdir())
    names = {link: os.readlink(link) for link in links}  # noqa: PTH115 - what was deleted is no path
    start, end = f"{folder.resolve()}/", " (deleted)"
    return [link.stat() for link, name in names.items() if name.startswith(start) and name.endswith(end)]


def _all_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


def _files(folder: Path) -> list[Path]:
    return [path for path in _all_in(folder) if path.is_file()]
