"""`tallystick node sync`, `match` and `rotate-key` against a node that runs, with and without a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.federation import CARE, LINKAGE, POLICE
from tests.nodes import NodeFolder, person, running_nodes


def _run(folder: NodeFolder, *words: str) -> tuple[int, str]:
    done = subprocess.run(_command(folder, words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


def _run_on_a_terminal(folder: NodeFolder, *words: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(_command(folder, words), stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # how Linux says that the other side was closed
            pass
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


def _command(folder: NodeFolder, words: tuple[str, ...]) -> list[str]:
    start = "from tallystick.cli import main; main()"
    return [sys.executable, "-c", start, "node", *words, "--config", str(folder.folder / "node.toml")]


@pytest.mark.parametrize("run", [_run, _run_on_a_terminal])
async def test_what_the_commands_show(tmp_path: Path, run: Callable[..., tuple[int, str]]) -> None:
    async with running_nodes(tmp_path, (POLICE, CARE)) as world:
        police = world.folders[POLICE]
        for agency in (POLICE, CARE):
            world.folders[agency].people(person(n) for n in range(40))
        with (police.folder / "people.csv").open("a") as table:
            table.write("p99,Secretname\n")
        await world.agree((POLICE, CARE))
        await world.sync(CARE)

        code, shown = await asyncio.to_thread(run, police, "sync", str(LINKAGE))
        assert code == 0, shown
        assert "left out: people.csv line 42: the row has fewer cells than the header" in shown
        assert "40  subjects read" in shown
        assert "1  source rows lost" in shown
        assert "Secretname" not in shown
        assert "/100" not in shown
        if run is _run:
            assert [line for line in shown.splitlines() if line.endswith("...")] == [
                "read ...", "send ...", "done ...",
            ]  # fmt: skip
        else:
            assert "40/40" in shown

        code, shown = await asyncio.to_thread(run, police, "match", str(LINKAGE))
        assert code == 0, shown
        assert "/100" not in shown
        assert "links" in shown

        code, shown = await asyncio.to_thread(run, police, "rotate-key", str(LINKAGE), "--reason", "age")
        assert code == 0, shown
        assert f"Epoch 2 of {LINKAGE} has begun" in shown

        code, shown = await asyncio.to_thread(run, police, "rotate-key", str(LINKAGE), "--reason", "whim")
        assert code == 1
        assert "error: TS9002" in shown
