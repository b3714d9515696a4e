"""Starts the demonstration's servers as processes of their own, and ends them whatever happens.

All are forked from one process that has the program loaded and compiled (`tallystick.demo.preload`), since
loading it six times would take as long as everything that they do.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
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
    process: ForkServerProcess
    log: Path


class Servers:
    """The processes of a demonstration. Leaving the context ends them all."""

    def __init__(self) -> None:
        """Begins to load the program, beside whatever else is done until the first server starts."""
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["tallystick.demo.preload"])
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the demonstration's alone
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, interrupted)
        self._running: list[Server] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, arguments: Sequence[str], log: Path, passphrase: str) -> Server:
        """Starts `tallystick ARGUMENTS`; its output goes to `log`.

        Raises:
            ServerError: it could not be started.
        """
        process = self._context.Process(
            target=_serve, args=(list(arguments), str(log), passphrase), name=name
        )
        try:
            process.start()
        except (EOFError, ConnectionError):
            raise ServerError(f"{name} did not start: the process that starts servers has ended") from None
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
            if server.process.exitcode is not None:
                raise ServerError(
                    f"{server.name} ended with status {server.process.exitcode}; its log: {server.log}\n"
                    + _tail(server.log)
                )
            if time.monotonic() > deadline:
                raise ServerError(f"{server.name} was not ready in {READY_SECONDS:.0f} s; log: {server.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks every process to end, the youngest first, and ends those that do not."""
        for server in reversed(self._running):
            server.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for server in self._running:
            server.process.join(timeout=max(0.1, deadline - time.monotonic()))
            if server.process.exitcode is None:
                server.process.kill()
                server.process.join()
        self._running.clear()


def _serve(arguments: list[str], log: str, passphrase: str) -> None:
    """What a forked process does: it becomes `tallystick ARGUMENTS`."""
    os.setsid()  # Ctrl-C goes to the demonstration, which ends the servers in order
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ["TALLYSTICK_PASSPHRASE"] = passphrase
    sys.argv = ["tallystick", *arguments]
    threading.Thread(target=_end_with_the_demonstration, daemon=True).start()
    from tallystick.cli import main

    main()


def _end_with_the_demonstration() -> None:
    """A demonstration that is killed leaves nobody behind either."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


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
