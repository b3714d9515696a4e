"""The demonstration runs for a stranger: real servers, Susan's picture, sound audits, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

PEOPLE = 60
#: The broker and five nodes.
SERVERS = 6


def _running(folder: Path) -> list[psutil.Process]:
    """The demonstration's processes: those that were told to put temporary files into `folder`."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name, which pytest's own do not."""
    with tempfile.TemporaryDirectory(prefix="ts") as folder:
        yield Path(folder)


@pytest.mark.timeout(280)
def test_demo_shows_the_picture_and_leaves_nothing(short_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "demo", "--people", str(PEOPLE)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(short_folder), "COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    precision = float(re.search(r"precision (\d\.\d+)", words)[1])  # type: ignore[index] # absent is a failure
    recall = float(re.search(r"recall (\d\.\d+)", words)[1])  # type: ignore[index] # absent is a failure
    assert precision >= 0.95
    assert recall >= 0.8
    # A piece from every agency, and the fire that named nobody.
    for piece in (
        "Neighbour reported shouting",
        "Said that she fell on the stairs",
        "Neighbour heard a door being forced",
        "Asked how to leave safely",
        "Fire set at the front door at night",
    ):
        assert piece in words, piece
    picture = words.partition("6. The single picture")[2].partition("7. What was kept back")[0]
    assert "The Rowans" not in words  # the refuge
    assert "Disclosed that her husband" not in picture  # restricted by clause 20
    assert "withheld by clause" in words
    assert "withheld: safe address or refuge" in words
    assert words.count("entries, sound.") == 5
    assert not list(short_folder.glob("tallystick-demo-*"))
    assert not _running(short_folder)


@pytest.mark.timeout(180)
def test_servers_end_with_a_demonstration_that_is_killed(short_folder: Path) -> None:
    demonstration = subprocess.Popen(
        [sys.executable, "-m", "tallystick", "demo", "--people", str(PEOPLE)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(short_folder)},
    )
    try:
        _until(lambda: len(list(short_folder.glob("*/logs/*.log"))) == SERVERS)
        assert len(_running(short_folder)) > SERVERS
    finally:
        demonstration.kill()
        demonstration.wait()
    _until(lambda: not _running(short_folder))


@pytest.mark.timeout(280)
def test_kept_its_servers_answer_until_it_is_ended(short_folder: Path) -> None:
    kept, output = short_folder / "kept", short_folder / "output"
    environment = {**os.environ, "TMPDIR": str(short_folder), "COLUMNS": "160"}
    with output.open("wb") as file:
        demonstration = subprocess.Popen(
            [sys.executable, "-m", "tallystick", "demo", "--people", str(PEOPLE), "--keep", str(kept)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        _until(
            lambda: demonstration.poll() is not None or "node documents" in output.read_text(),
            seconds=200,
        )
        commands = re.findall(r"^  tallystick (.+)$", output.read_text(), re.MULTILINE)
        assert len(commands) == 3, output.read_text()
        for command in commands:
            subprocess.run(
                [sys.executable, "-m", "tallystick", *command.split()],
                stdout=subprocess.DEVNULL,
                check=True,
                env=environment,
            )
        demonstration.terminate()
        assert demonstration.wait(timeout=60) == 130
    finally:
        demonstration.kill()
        demonstration.wait()
    assert "all servers have ended" in output.read_text()
    _until(lambda: not _running(short_folder))
    assert list(kept.glob("audit/*"))


def _until(true: Callable[[], bool], seconds: float = 80.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_demo_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("do not touch")
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "do not touch"
