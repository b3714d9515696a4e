"""`tallystick privacy-report`: how badly a linkage's encodings would leak, before anybody signs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from agency_node.encoding import default_section
from agency_node.encoding.hardening import PLAIN
from crypto.canonical import JsonValue, parse_strict
from protos.wire.terminal import EXIT_REFUSED, say, stop_on_error
from tallystick.privacy.data import read_held_out
from tallystick.privacy.errors import PrivacyReportError
from tallystick.privacy.render import notes_on, render_page, verdict_text
from tallystick.privacy.report import PrivacyReport, Settings, privacy_report

privacy_app = typer.Typer(help="How badly a linkage's encodings would leak, measured before anybody signs.")


@privacy_app.callback(invoke_without_command=True)
@stop_on_error
def privacy(
    schema: Annotated[
        Path | None,
        typer.Option(help="An encoding section or linkage agreement, JSON. Default: the person schema."),
    ] = None,
    subject: Annotated[
        Literal["person", "place"], typer.Option(help="Which default schema, without --schema.")
    ] = "person",
    hardening: Annotated[
        Literal["default", "plain"],
        typer.Option(help="default: as the schema says; plain: without any."),
    ] = "default",
    data: Annotated[
        Path | None, typer.Option(help="A CSV file of held-out records instead of synthetic ones.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="Which column of --data is what; guessed without.")
    ] = None,
    held_out: Annotated[
        str, typer.Option(help="Which held-out records --data are, where they lie beside a node's files.")
    ] = "",
    rows: Annotated[int, typer.Option(help="Records to attack.")] = 5_000,
    graph_rows: Annotated[int, typer.Option(help="Records for graph matching, which is slow.")] = 2_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same report.")] = 1,
    quick: Annotated[bool, typer.Option(help="A smoke run; not for signing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as canonical JSON.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for privacy-report.html and privacy-report.json.")
    ] = None,
) -> None:
    """Runs the published attacks on Bloom-filter encodings against a linkage schema.

    Exit code 1 where a limit is not kept.
    """
    settings = Settings.quick(seed) if quick else Settings(rows=rows, graph_rows=graph_rows, seed=seed)
    section = _section(schema, subject)
    if hardening == "plain":
        section = _without_hardening(section)
    records = None
    if data is not None:
        today = datetime.now(UTC).date()
        wanted = max(settings.rows, 2 * settings.graph_rows)
        records = read_held_out(data, mapping, wanted, seed, held_out_as=held_out, today=today)
    elif mapping is not None or held_out:
        raise PrivacyReportError("--mapping and --held-out describe --data, which is not given")
    made = privacy_report(
        section,
        settings,
        held_out=records,
        held_out_as=held_out,
        narrow_exceptions=_names(section),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "privacy-report.json").write_bytes(made.to_bytes())
        (report / "privacy-report.html").write_text(render_page(made), "utf-8")
    say(made.to_bytes().decode()) if json else _summary(made, report)
    if made.verdict == "fail":
        raise typer.Exit(EXIT_REFUSED)


def _summary(made: PrivacyReport, folder: Path | None) -> None:
    for gate in made.gates:
        mark = {"pass": "kept   ", "concern": "CONCERN", "fail": "FAIL   "}[gate.outcome]
        say(f"{mark}  {gate.measured} (limit {gate.limit})  {gate.target}: {gate.attack}")
    holder = made.key_holder
    say(f"shown    {holder.misspelt.share:.4f}  A4 key holder: right person nearest, name misspelt")
    for cost in made.cost:
        say(f"shown    {cost.f1:.4f}  best F1 on synthetic agencies, {cost.hardening}")
    for note in notes_on(made):
        say(f"Note: {note}")
    say(verdict_text(made))
    say(f"Privacy report hash: {made.digest}")
    if folder is not None:
        say(f"Written: {folder / 'privacy-report.html'} and privacy-report.json")


def _section(schema: Path | None, subject: Literal["person", "place"]) -> dict[str, JsonValue]:
    """The encoding section of a file, which may also be an agreement that contains one."""
    if schema is None:
        return default_section(subject)
    value = parse_strict(schema.read_bytes())
    if isinstance(value, dict) and isinstance(value.get("encoding"), dict):
        value = value["encoding"]
    if not isinstance(value, dict):
        raise PrivacyReportError(f"{schema.name}: is neither an encoding section nor a linkage agreement")
    return value


def _without_hardening(section: dict[str, JsonValue]) -> dict[str, JsonValue]:
    projections = section.get("projections")
    if not isinstance(projections, list):
        raise PrivacyReportError("the encoding section has no list of projections")
    plain: list[JsonValue] = [
        {**item, "hardening": {"kind": PLAIN}} if isinstance(item, dict) else item for item in projections
    ]
    return {**section, "projections": plain}


def _names(section: dict[str, JsonValue]) -> list[str]:
    """Every projection: this report is how officers learn what the exception for a narrow one would cost."""
    projections = section.get("projections")
    found = projections if isinstance(projections, list) else []
    return [str(item.get("name")) for item in found if isinstance(item, dict)]
