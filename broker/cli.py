"""`tallystick broker`: init, enrol, run, holds, health, check-config, migrate. Exit code 2: usage, config."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from broker.config import BrokerConfig, ConfigError, load_config, passphrase
from broker.holds_cli import holds_app

broker_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The broker: matches encodings, tells links where policies allow it, relays sealed messages.",
)
broker_app.add_typer(holds_app, name="holds")
Config = Annotated[Path, typer.Option("--config", "-c", help="The broker's TOML file.")]
_CONFIG = Path("broker.toml")
_REFUSED, _USAGE = 1, 2


@broker_app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the broker's files go; made if missing.")],
    federation: Annotated[str, typer.Option(help="The federation's name, as in its SPIFFE identities.")],
    dns: Annotated[list[str] | None, typer.Option(help="A name by which nodes reach the broker.")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="An address by which nodes reach the broker.")] = None,
    listen: Annotated[str, typer.Option(help="host:port to listen on.")] = "0.0.0.0:7443",
    database: Annotated[str, typer.Option(help="Database URL; SQLite in the folder by default.")] = "",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Instead of the variable TALLYSTICK_PASSPHRASE.")
    ] = None,
) -> None:
    """Makes a broker's folder with its keys, and the request for the federation's office."""
    from broker.config import AuditConfig
    from broker.setup import REQUEST_NAME, initialise
    from crypto.errors import CryptoError
    from policies.enrolment import fingerprint

    try:
        secret = passphrase(AuditConfig("", folder / "keys.json", passphrase_file))
        request = initialise(
            folder,
            federation,
            secret,
            listen=listen,
            database=database,
            dns_names=dns or [],
            ip_addresses=ip or [],
        )
    except (ConfigError, CryptoError, ValueError, OSError) as error:
        raise _stopped(str(error)) from None
    typer.echo(f"Broker of {federation} prepared in {folder}.")
    typer.echo(f"Send {folder / REQUEST_NAME} to the federation's office.")
    typer.echo(f"Tell it this fingerprint out of band: {fingerprint(request)}")


@broker_app.command()
def enrol(
    answer: Annotated[Path, typer.Argument(help="The office's answer file.")],
    expected: Annotated[
        str, typer.Option("--fingerprint", help="The first root's fingerprint, as the office told you.")
    ],
    config: Config = _CONFIG,
) -> None:
    """Installs the office's answer: certificate, authority, root and registry."""
    from broker.setup import install
    from crypto.errors import CryptoError
    from policies.errors import PolicyError

    try:
        loaded = load_config(config)
        version = asyncio.run(install(loaded, answer, expected, passphrase(loaded.audit)))
    except (ConfigError, CryptoError, PolicyError, OSError) as error:
        raise _stopped(str(error)) from None
    typer.echo(f"Enrolled; registry version {version} is in force. Start with `tallystick broker run`.")


@broker_app.command("check-config")
def check(config: Config = _CONFIG) -> None:
    """Says what is wrong with the configuration, and where."""
    from broker.app import utc_now
    from broker.check import check_config

    problems = asyncio.run(check_config(config, utc_now()))
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(_USAGE)
    typer.echo(f"{config}: good")


@broker_app.command()
def health(config: Config = _CONFIG) -> None:
    """Whether a broker serves as configured, with the configured certificate. Exit code 1 if not."""
    from broker.health import HealthError, probe

    try:
        address = probe(load_config(config))
    except (ConfigError, OSError, ValueError) as error:
        raise _stopped(str(error)) from None
    except HealthError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(_REFUSED) from None
    typer.echo(f"serving on {address}")


@broker_app.command()
def migrate(config: Config = _CONFIG) -> None:
    """Brings the database to the newest schema; `run` does so too."""
    from sqlalchemy.exc import SQLAlchemyError

    from broker import migrations
    from broker.store.sql import open_engine

    async def upgraded() -> str:
        loaded = load_config(config)
        loaded.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = open_engine(loaded.database_url)
        try:
            return await migrations.upgrade(engine)
        finally:
            await engine.dispose()

    try:
        revision = asyncio.run(upgraded())
    except (ConfigError, ValueError, SQLAlchemyError) as error:
        raise _stopped(_plain(error)) from None
    typer.echo(f"database at revision {revision}")


@broker_app.command()
def run(
    config: Config = _CONFIG,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once the broker serves: its port, for scripts.")
    ] = None,
) -> None:
    """Serves until it is told to stop (SIGTERM or SIGINT), then ends what is under way."""
    from sqlalchemy.exc import SQLAlchemyError

    from crypto.errors import CryptoError
    from policies.errors import PolicyError
    from protos.wire.safelog import configure_logging

    try:
        loaded = load_config(config)
        configure_logging(level=loaded.log.level, json_lines=loaded.log.format == "json")
        asyncio.run(_serve(loaded, passphrase(loaded.audit), ready_file))
    except (ConfigError, CryptoError, PolicyError, ValueError, SQLAlchemyError) as error:
        raise _stopped(_plain(error)) from None


async def _serve(config: BrokerConfig, secret: str, ready_file: Path | None) -> None:
    from broker.app import Broker

    broker = Broker.from_config(config, secret)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    try:
        await broker.start()
        if ready_file is not None:
            await asyncio.to_thread(_write_whole, ready_file, f"{broker.port}\n")
        await ending.wait()
    finally:
        await broker.stop()


def _write_whole(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content)
    partial.replace(path)


def _plain(error: Exception) -> str:
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, SQLAlchemyError):
        return f"database: {type(error).__name__}; check the URL and that the server is up"
    return str(error)


def _stopped(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(_USAGE)
