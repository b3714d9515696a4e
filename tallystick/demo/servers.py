"""Starts the demonstration's servers as processes of their own, and ends them whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from protos.wire.terminal import TerminalError

READY_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerError(TerminalError):
    """A server did not start, or ended; the message says which, and where its log is."""


@dataclass(frozen=True, slots=True)
class Server:
    """One running process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Servers:
    """The processes of a demonstration. Leaving the context ends them all."""

    def __init__(self) -> None:
        self._running: list[Server] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str], log: Path, passphrase: str) -> Server:
        """Starts `tallystick ARGUMENTS`; its output goes to `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tallystick", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "TALLYSTICK_PASSPHRASE": passphrase},
                start_new_session=True,  # Ctrl-C goes to the demonstration, which ends them in order
            )
        server = Server(name, process, log)
        self._running.append(server)
        return server

    def wait_for(self, server: Server, ready: Callable[[], bool]) -> None:
        """Waits until `ready` says so.

        Raises:
            ServerError: the process ended, or took longer than `READY_SECONDS`.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if server.process.poll() is not None:
                raise ServerError(
                    f"{server.name} ended with status {server.process.returncode}; its log: {server.log}\n"
                    + _tail(server.log)
                )
            if time.monotonic() > deadline:
                raise ServerError(f"{server.name} was not ready in {READY_SECONDS:.0f} s; log: {server.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks every process to end, the youngest first, and ends those that do not."""
        for server in reversed(self._running):
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for server in self._running:
            try:
                server.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        self._running.clear()


def free_port() -> int:
    """A TCP port on loopback that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts_connections(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
