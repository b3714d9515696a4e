"""`tallystick broker holds`: what the broker keeps back on suspicion, and letting it go."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.config import BrokerConfig, ConfigError, load_config

if TYPE_CHECKING:
    from broker.store.model import Hold

holds_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Uploads, look-ups and links kept back on suspicion of misuse.",
)
Config = Annotated[Path, typer.Option("--config", "-c", help="The broker's TOML file.")]
_CONFIG = Path("broker.toml")
_REFUSED, _USAGE = 1, 2


@holds_app.command("list")
def list_holds(
    config: Config = _CONFIG,
    everything: Annotated[bool, typer.Option("--all", help="Released ones too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Shows what is held, and why. Counts only, never values."""
    for hold in _held(_loaded(config)):
        if not (hold.open or everything):
            continue
        if as_json:
            typer.echo(json.dumps(_tree(hold)))
            continue
        state = "held" if hold.open else f"released {hold.released:%Y-%m-%d %H:%M} UTC"
        typer.echo(
            f"{hold.hold_id}  {hold.kind.value}  {hold.linkage}  {hold.agency}  "
            f"{hold.created:%Y-%m-%d %H:%M} UTC  {state}\n    {hold.reason}"
        )


@holds_app.command()
def release(
    hold_id: Annotated[str, typer.Argument(help="The hold's id, as `list` shows it.")],
    officer: Annotated[str, typer.Option(help="Who decided, for the audit log.")],
    reason: Annotated[str, typer.Option(help="Why it is no misuse, for the audit log.")],
    config: Config = _CONFIG,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the running broker.", min=0)] = 10.0,
) -> None:
    """Lets something go that is held. The decision is in the broker's audit log for ever."""
    from broker.holds import Release, write_release

    loaded = _loaded(config)
    known = {hold.hold_id: hold for hold in _held(loaded)}
    if hold_id not in known:
        raise _stopped(f"there is no hold {hold_id}; see `tallystick broker holds list`", _USAGE)
    if not known[hold_id].open:
        raise _stopped(f"hold {hold_id} is released already", _REFUSED)
    if not officer.strip() or not reason.strip():
        raise _stopped("say who decided (--officer) and why (--reason)", _USAGE)
    left = write_release(loaded.releases, Release(hold_id, officer.strip(), reason.strip()))
    until = time.monotonic() + wait
    while left.exists() and time.monotonic() < until:
        time.sleep(0.1)
    if left.exists():
        typer.echo(f"{hold_id}: the broker releases it when it runs.")
    else:
        typer.echo(f"{hold_id}: released.")


def _loaded(path: Path) -> BrokerConfig:
    try:
        return load_config(path)
    except ConfigError as error:
        raise _stopped(str(error), _USAGE) from None


def _held(config: BrokerConfig) -> tuple[Hold, ...]:
    from sqlalchemy.exc import SQLAlchemyError

    from broker.store.sql import SqlStore, open_engine

    async def read() -> tuple[Hold, ...]:
        store = SqlStore(open_engine(config.database_url))
        try:
            async with store.read() as tx:
                return await tx.holds.listed()
        finally:
            await store.close()

    try:
        return asyncio.run(read())
    except (ValueError, SQLAlchemyError) as error:
        raise _stopped(
            f"database: {type(error).__name__}; has the broker run with this configuration?", _USAGE
        ) from None


def _tree(hold: Hold) -> dict[str, object]:
    return {
        "hold": hold.hold_id,
        "kind": hold.kind.value,
        "linkage": hold.linkage,
        "agency": hold.agency,
        "created": f"{hold.created:%Y-%m-%dT%H:%M:%SZ}",
        "released": f"{hold.released:%Y-%m-%dT%H:%M:%SZ}" if hold.released else None,
        "reason": hold.reason,
        "figures": dict(hold.figures),
    }


def _stopped(message: str, code: int) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)
