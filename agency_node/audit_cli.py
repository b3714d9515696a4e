"""`tallystick audit`: export the log from a running node, and verify an export anywhere, without a network.

`verify` exits with 0 where everything is sound, 1 where something was found, 2 where the folder is unusable.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from agency_node.audit_check import CheckReport, check_export
from agency_node.audit_files import ExportUnusableError
from agency_node.audit_heads import Reach
from agency_node.audit_manifest import is_export_file
from agency_node.disclosure.oversight_cli import about, erase
from agency_node.disclosure.terminal import (
    CONFIG,
    Config,
    Key,
    LookReason,
    Officer,
    PassphraseFile,
    Role,
    officers_app,
    ordered,
    with_node,
)
from agency_node.rpc.control_client import ControlClient
from agency_node.rpc.ports import OrderDraft
from protos.wire.terminal import EXIT_REFUSED, EXIT_USAGE, TerminalError, say, stop_on_error

audit_app = officers_app("Export and verify audit logs.")
# These need a running node, as `export` does.
audit_app.command()(about)
audit_app.command()(erase)


@audit_app.command()
@stop_on_error
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder for the files.")],
    key: Key,
    officer: Officer,
    reason: LookReason,
    role: Role = "dpo",
    broker: Annotated[
        bool, typer.Option(help="The broker's log, as your node is shown it, rather than your own.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    config: Config = CONFIG,
) -> None:
    """Writes the audit log of the running node to a folder, as an overseer; the log says so."""
    if folder.exists() and any(folder.iterdir()):
        raise TerminalError(f"{folder} is not empty; name a new folder")
    target = "broker" if broker else "own"
    order = ordered(
        OrderDraft("export-audit", target, "", reason, officer, role), key, passphrase_file, config
    )

    async def work(client: ControlClient) -> int:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        size = 0
        async with aclosing(client.export_audit(order)) as chunks:
            async for name, chunk in chunks:
                if not is_export_file(name):
                    raise TerminalError("the node sent a file that does not belong to an export")
                (folder / name).parent.mkdir(exist_ok=True, mode=0o700)
                with (folder / name).open("ab") as stream:
                    size += stream.write(chunk)
        return size

    size = with_node(config, work)
    say(f"Exported to {folder}: {size:,} bytes. Check it with `tallystick audit verify {folder}`.")


@audit_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an export.")],
    anchor: Annotated[
        str | None, typer.Option(help="The federation's anchor: the digest of its first root.")
    ] = None,
    witnesses: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many other agencies must vouch for all but the last day of the log: one by default.",
        ),
    ] = None,
    head: Annotated[
        list[Path] | None,
        typer.Option(help="A head that somebody else holds: a file, or another agency's export. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs rather than people.")] = False,
) -> None:
    """Checks an exported log: tree, signatures, gaps, releases, receipts, break-glass, witnesses."""
    try:
        report = check_export(folder, anchor=anchor, witnesses=witnesses, heads=head or ())
    except (ExportUnusableError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    say(json.dumps(_as_json(report), indent=2) if as_json else "\n".join(_in_words(report)))
    raise typer.Exit(0 if report.sound else EXIT_REFUSED)


def _in_words(report: CheckReport) -> list[str]:
    lines = [
        f"Audit log of {_whose(report)} in {report.federation}: {report.size:,} entries, exported"
        f" {report.exported_at:%d %B %Y %H:%M} UTC"
    ]
    for item in report.findings:
        where = "" if item.seq is None else f"entry {item.seq}: "
        lines.append(f"FOUND  {where}{item.message}")
    lines += [f"WARN   {warning}" for warning in report.warnings]
    lines += [f"note   {note}" for note in report.notes]
    if report.sound:
        until = f", up to {report.last_entry:%d %B %Y %H:%M} UTC" if report.last_entry else ""
        under = "" if report.of_broker else ", and every release was under a policy in force"
        lines.append(
            f"Sound: of the first {report.size:,} entries{until}, none is missing or altered{under}."
        )
        lines.append(report.caveat)
    else:
        lines.append(f"NOT SOUND: {len(report.findings)} findings.")
    return lines


def _whose(report: CheckReport) -> str:
    return f"the broker, as {report.agency} was shown it," if report.of_broker else report.agency


def _as_json(report: CheckReport) -> dict[str, object]:
    return {
        "sound": report.sound,
        "agency": report.agency,
        "of_broker": report.of_broker,
        "federation": report.federation,
        "entries": report.size,
        "last_entry": report.last_entry.isoformat() if report.last_entry else None,
        "heads_given": _reach_json(report.held),
        "caveat": report.caveat,
        "exported_at": report.exported_at.isoformat(),
        "anchor": report.anchor,
        "findings": [
            {"kind": item.kind, "entry": item.seq, "message": item.message} for item in report.findings
        ],
        "warnings": list(report.warnings),
        "notes": list(report.notes),
    }


def _reach_json(reach: Reach | None) -> dict[str, object] | None:
    if reach is None:
        return None
    return {"entries": reach.entries, "time": reach.time.isoformat() if reach.time else None}
