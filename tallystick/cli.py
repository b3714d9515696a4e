"""The command line: one program for the federation's office, the broker, the nodes, officers and pilots."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version as distribution_version
from typing import Annotated

import typer

import protos  # noqa: F401 - before anything imports grpc, so that TLS below 1.3 is refused


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command's Typer app is. Its module is imported only when the command is used."""

    module: str
    app: str
    help: str
    #: Whether it reads or keeps data, of which something may have to be logged.
    logs: bool = False


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "tallystick.demo.cli", "demo_app", "Five agencies and a broker on this machine.", logs=True
    ),
    "federation": Command(
        "tallystick.federation.cli", "federation_app", "The federation's office: authority, root, registry."
    ),
    "policy": Command(
        "tallystick.governance.cli", "policy_app", "Sharing policies: write, lint, show, sign, suspend."
    ),
    "officer": Command("tallystick.officer", "officer_app", "An officer's own signing key."),
    "pilot": Command(
        "tallystick.pilot.cli", "pilot_app", "Try a linkage on files, before anybody signs.", logs=True
    ),
    "broker": Command("broker.cli", "broker_app", "The broker: init, enrol, run, check-config.", logs=True),
    "node": Command(
        "agency_node.cli", "node_app", "An agency's node: init, enrol, run, sync, match, links.", logs=True
    ),
    "request": Command("agency_node.disclosure.cli", "request_app", "Ask another agency for a disclosure."),
    "approve": Command("agency_node.disclosure.cli", "approve_app", "Decide on requests that wait for you."),
    "audit": Command("agency_node.audit_cli", "audit_app", "Export and verify audit logs, offline."),
    "supervise": Command(
        "agency_node.disclosure.oversight_cli", "supervise_app", "Sampled releases, alarms, conflicts."
    ),
    "privacy-report": Command(
        "tallystick.privacy.cli",
        "privacy_app",
        "How badly a linkage's encodings would leak, before signing.",
        logs=True,
    ),
}


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tallystick {distribution_version('tallystick')}")
        raise typer.Exit


def build(used: str | None) -> typer.Typer:
    """The program with the command `used` loaded, and of the others only their names and a line of help.

    So `tallystick --help` does not wait for databases and compilers to be imported.
    """
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # its tracebacks show local variables, which may be personal data
        help="Federated, privacy-preserving record matching for public agencies.",
    )

    @app.callback()
    def program(
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
    ) -> None:
        """Federated, privacy-preserving record matching for public agencies."""

    for name, command in COMMANDS.items():
        loaded = (
            getattr(import_module(command.module), command.app)
            if name == used
            else typer.Typer(callback=lambda: None)
        )
        app.add_typer(loaded, name=name, help=command.help)
    return app


def main() -> None:
    """Entry point of the console script `tallystick`."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    command = COMMANDS.get(words[0]) if words else None
    if command is not None and command.logs:
        from protos.wire.safelog import configure_logging

        # A command says what it does itself; servers set their own logging from their configuration.
        configure_logging(level="warning", json_lines=False)
    build(words[0] if words else None)()
