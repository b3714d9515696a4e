"""`tallystick demo`."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from protos.wire.terminal import TerminalError, stop_on_error
from tallystick.demo.servers import Servers

demo_app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Five agencies and a broker on this machine: the whole job, over made-up people.",
)

_LEAST, _MOST = 50, 200_000
#: A unix socket's path has at most 107 bytes, of which the nodes' own folders need some.
_LONGEST_FOLDER = 60


@demo_app.callback()
@stop_on_error
def demo(
    people: Annotated[
        int, typer.Option(min=_LEAST, max=_MOST, help="How many people each agency knows.")
    ] = 2_000,
    seed: Annotated[int, typer.Option(help="Another seed makes other people.")] = 7,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep everything in this new folder, and leave the servers running until Ctrl-C."),
    ] = None,
) -> None:
    """Links five agencies' records of made-up people, and shows one woman's single picture."""
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise TerminalError(f"{keep} is not empty; choose a new folder")
    if keep is not None and len(str(keep.resolve())) > _LONGEST_FOLDER:
        raise TerminalError(f"{keep}: the path is too long for the nodes' sockets; choose a shorter one")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        began = time.monotonic()
        servers = Servers()  # they load, and compile the first time, beside what follows
        from tallystick.demo.show import run_demo

        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            asyncio.run(run_demo(servers, keep.resolve(), people, seed, began, stay=True))
            return
        with tempfile.TemporaryDirectory(prefix="tallystick-demo-") as folder:
            asyncio.run(run_demo(servers, Path(folder), people, seed, began, stay=False))
    except KeyboardInterrupt:
        typer.echo("Stopped; all servers have ended.")
        raise typer.Exit(130) from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
