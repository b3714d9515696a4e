"""`tallystick pilot`: try a linkage on files that one organisation holds, before anybody signs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agency_node.encoding.errors import EncodingError
from agency_node.mapping import MappingError
from agency_node.sources.errors import SourceError
from broker.matching.errors import MatchingError
from protos.wire.terminal import EXIT_REFUSED, EXIT_USAGE
from tallystick.pilot.errors import PilotError, UnsupportedDataError
from tallystick.pilot.files import Columns
from tallystick.pilot.mapping import MappingPlan, load_plan
from tallystick.pilot.output import result_json, summary, write_pairs
from tallystick.pilot.run import Duplicates, PilotOptions, load_section, run_pilot

pilot_app = typer.Typer(
    invoke_without_command=True,
    context_settings={"allow_interspersed_args": True},
    help="Try a linkage on CSV files: how many links, how many are wrong, where to set the threshold.",
)


def _progress(text: str) -> None:
    typer.echo(f"  {text}", err=True)


@pilot_app.callback()
def pilot(
    agency: Annotated[
        list[str], typer.Option(help="An agency and its file, as police=people.csv. Give two or more.")
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option(help="Which column is which field: m.toml for all files, or police=m.toml for one."),
    ] = None,
    truth: Annotated[
        str, typer.Option(help="The column that says who is who. For scoring; it is never encoded.")
    ] = "",
    name_origin: Annotated[
        str, typer.Option(help="A column by which scores are also broken down. It is never encoded.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with plots here.")] = None,
    privacy: Annotated[
        bool, typer.Option("--privacy/--no-privacy", help="Attack such encodings of made-up people too.")
    ] = True,
    pairs: Annotated[Path | None, typer.Option(help="Write the pairs found to this CSV file.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.05, max=1.0, help="Use this threshold instead of choosing one.")
    ] = None,
    fdr: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="The highest estimated part of wrong links to allow.")
    ] = 0.05,
    duplicates: Annotated[
        str, typer.Option(help="Whether a file may hold one person more than once: auto, yes or no.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The same seed and files give the same result.")] = 1,
    schema: Annotated[
        Path | None, typer.Option(help="Another linkage schema (the encoding section of an agreement, JSON).")
    ] = None,
) -> None:
    """Runs the real path (normalise, encode, match, solve) over files that you hold.

    Without --truth the threshold is still chosen: decoys and look-alikes within each file show how often
    strangers would be linked.
    """
    try:
        options = PilotOptions(
            files=_files(agency),
            today=datetime.now(UTC).date(),
            plans=_plans(mapping or []),
            columns=Columns(truth, name_origin),
            section=load_section(schema) if schema else None,
            ceiling=fdr,
            threshold=threshold,
            duplicates=_duplicates(duplicates),
            seed=seed,
        )
        result = run_pilot(options, _progress)
        if pairs is not None:
            write_pairs(result, pairs)
        if report is not None:
            from tallystick.pilot.report import write_report  # plots take a second to import

            write_report(result, options, report, _progress, privacy=privacy)
        typer.echo(json.dumps(result_json(result)) if as_json else summary(result))
    except UnsupportedDataError as error:
        if as_json:
            typer.echo(json.dumps({"refused": {"reason": error.reason, "message": str(error)}}))
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    except (PilotError, MappingError, SourceError, EncodingError, MatchingError, OSError) as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}))
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def _files(given: list[str]) -> tuple[tuple[str, Path], ...]:
    files = []
    for text in given:
        name, mark, path = text.partition("=")
        if not mark or not name.strip() or not path:
            raise PilotError(f"--agency {text}: write it as name=file, as in police=people.csv")
        files.append((name.strip(), Path(path)))
    names = [name for name, _ in files]
    if len(set(names)) != len(names):
        raise PilotError("two files have the same agency name; each agency has one file")
    if len(files) < 2:
        raise PilotError("a linkage needs at least two agencies; give --agency twice")
    return tuple(files)


def _plans(given: list[str]) -> dict[str, MappingPlan]:
    plans: dict[str, MappingPlan] = {}
    for text in given:
        name, mark, path = text.partition("=")
        key, file = (name.strip(), path) if mark else ("", text)
        if key in plans:
            raise PilotError(f"--mapping is given twice for {key or 'all files'}")
        plans[key] = load_plan(Path(file))
    return plans


def _duplicates(text: str) -> Duplicates:
    match text:
        case "auto" | "yes" | "no":
            return text
    raise PilotError(f"--duplicates {text}: must be auto, yes or no")
