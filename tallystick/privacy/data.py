"""Held-out records from a file, and the refusal of live ones."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

from agency_node.mapping import CsvSettings, MappingError, TableRule, load_mapping
from agency_node.mapping_toml import TomlFile
from agency_node.normalise import NormalisationReport
from agency_node.sources.assemble import Assembler
from agency_node.sources.delimited import read_delimited
from agency_node.sources.problems import ProblemLog
from agency_node.subjects import SubjectId
from tallystick.pilot.errors import PilotError
from tallystick.pilot.guess import guess_mapping
from tallystick.pilot.mapping import FileMapping, fit_plan, load_plan
from tallystick.privacy.errors import LiveDataError, PrivacyReportError
from tallystick.privacy.people import Records, records

_AGENCY: Final = "held-out"
_MOST_READ: Final = 200_000


def read_held_out(
    data: Path, mapping: Path | None, wanted: int, seed: int, *, held_out_as: str, today: date
) -> Records:
    """At most ``wanted`` distinct records of a CSV file, normalised as a node would.

    Without a mapping, one is guessed from the column names. At most 200,000 rows are read.

    :raises LiveDataError: the file belongs to a node's own source and ``held_out_as`` does not say otherwise.
    :raises PrivacyReportError: the file or mapping cannot be used.
    """
    if not held_out_as:
        _refuse_live(data, mapping)
    try:
        fitted = fit_plan(load_plan(mapping), _AGENCY, data) if mapping else guess_mapping(_AGENCY, data, ())
    except (PilotError, MappingError) as error:
        raise PrivacyReportError(str(error)) from None
    return records(_rows(fitted, today), wanted, seed, f"records of {data.name}")


def _rows(mapping: FileMapping, today: date) -> list[dict[str, str]]:
    problems = ProblemLog()
    header = mapping.header
    rule = TableRule(header.path.name, mapping.record_id, mapping.fields)
    assembler = Assembler(mapping.rules, NormalisationReport(), problems, today)
    rows = []
    for row in read_delimited(header.settings, header.path.name, mapping.columns, problems.add):
        subject = assembler.subject("person", SubjectId("-"), (rule, row), ())
        rows.append(dict(subject.identities[0].fields))
        if len(rows) == _MOST_READ:
            break
    return rows


def _refuse_live(data: Path, mapping: Path | None) -> None:
    """A node's mapping, or a file that a mapping or configuration beside it makes part of a node's source."""
    where = data.resolve().parent
    beside = [path for folder in (where, where.parent) for path in sorted(folder.glob("*.toml"))]
    for path in dict.fromkeys([*([mapping] if mapping else []), *beside]):
        if _is_node_file(path) and (path == mapping or path.parent.resolve() == where or _reads(path, where)):
            raise LiveDataError(
                f"{data.name} looks like a node's own source ({path.name} is a node's file). A privacy "
                "report is never made from live records. If these were held out for testing, say which they "
                'are with --held-out "..."; it is written into the report.'
            )


def _is_node_file(path: Path) -> bool:
    try:
        root = TomlFile(path).root
    except (MappingError, OSError):
        return False
    return root.has("people") or root.has("places") or (root.has("node") and root.has("broker"))


def _reads(path: Path, folder: Path) -> bool:
    """Whether a node's mapping reads tables of ``folder``."""
    try:
        source = load_mapping(path).source
    except (MappingError, OSError):
        return True
    return isinstance(source, CsvSettings) and source.folder.resolve() == folder
