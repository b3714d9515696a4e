"""Which column of each file is which linkage field: a pilot's mapping, as short as it can be.

::

    record_id = "case_no"          # optional: names rows in the output; without it, the line number does

    [fields]                       # for every file
    given_names = "forename"
    family_name = "surname"
    date_of_birth = { day = "dob_day", month = "dob_mon", year = "dob_year" }
    full_address = "addr"
    postcode = "pcode"

    [rules]                        # optional: as in a node's mapping
    date_order = "dmy"
    postcodes = "uk"               # or "any"; without it, the pilot looks at the files

    [file]                         # optional; without it, UTF-8 and the delimiter that the header shows
    encoding = "cp1252"
    delimiter = ";"

    [agency.care]                  # optional: what differs in one agency's file, laid over the above
    record_id = "person_id"
    [agency.care.fields]
    family_name = "last_name"

The keys of ``fields`` are those of a node's mapping (:mod:`agency_node.mapping`), and a node's own mapping
file serves as well: its ``[people]`` table is used. A column that ``[fields]`` names and a file lacks leaves
that field out for that file, and is reported; one that only an agency's own section names must be there.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agency_node.mapping import (
    CsvSettings,
    FieldRule,
    MappingError,
    load_mapping,
    read_field_rules,
    read_rules,
)
from agency_node.mapping_toml import TomlFile, TomlTable, suggestion
from agency_node.normalise import NormaliseRules
from tallystick.pilot.errors import PilotError

_DELIMITERS: Final = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The header of one agency's file, and how the file is written."""

    path: Path
    columns: tuple[str, ...]
    encoding: str
    delimiter: str

    @property
    def settings(self) -> CsvSettings:
        """The same for the reader of delimited files."""
        return CsvSettings(self.path.parent, self.encoding, self.delimiter)


@dataclass(frozen=True, slots=True)
class FileMapping:
    """What is read of one file. ``record_id`` is "" where line numbers name the rows.

    :param postcodes_given: whether somebody said which form postcodes have.
    :param notes: for people: what was left out or guessed.
    """

    agency: str
    header: FileHeader
    record_id: str
    fields: tuple[FieldRule, ...]
    rules: NormaliseRules
    postcodes_given: bool
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read for linking, each once."""
        read = [self.record_id] if self.record_id else []
        read += [column for rule in self.fields for column in rule.columns]
        return tuple(dict.fromkeys(read))


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """A mapping file as read, before it meets the files."""

    source: str
    record_id: str
    fields: tuple[FieldRule, ...]
    rules: NormaliseRules
    postcodes_given: bool
    encoding: str
    delimiter: str
    own: Mapping[str, MappingPlan]


def read_header(path: Path, encoding: str = "", delimiter: str = "") -> FileHeader:
    """The column names of a delimited file; the delimiter is that which splits the header most.

    :raises PilotError: the file is missing, empty, or not text.
    """
    codec = encoding or "utf-8"
    try:
        with path.open(encoding="utf-8-sig" if codec == "utf-8" else codec, errors="replace") as stream:
            first = next((line for line in stream if line.strip()), "")
    except OSError as error:
        raise PilotError(f"{path}: cannot be read ({error.strerror})") from None
    if not first or "\0" in first:
        raise PilotError(f"{path}: needs a header row with column names; is it a text file?")
    mark = delimiter or max(_DELIMITERS, key=first.count)
    cells = next(csv.reader([first.rstrip("\r\n")], delimiter=mark, skipinitialspace=True), [])
    return FileHeader(path, tuple(cell.strip() for cell in cells), codec, mark)


def load_plan(path: Path) -> MappingPlan:
    """Read a pilot's mapping file, or a node's.

    :raises MappingError: with the place of the first mistake.
    """
    root = TomlFile(path).root
    if root.has("people"):
        return _node_plan(path)
    plan = _plan(root, path.name, None)
    root.finish()
    return plan


def _node_plan(path: Path) -> MappingPlan:
    mapping = load_mapping(path)
    people = mapping.subject_rule("person")
    if people is None or not isinstance(mapping.source, CsvSettings):
        raise MappingError(f"{path.name}: a pilot reads people from CSV files; this mapping has none")
    return MappingPlan(
        source=path.name,
        record_id=people.main.subject_id,
        fields=people.main.fields,
        rules=mapping.rules,
        postcodes_given=True,
        encoding=mapping.source.encoding,
        delimiter=mapping.source.delimiter,
        own={},
    )


def _plan(table: TomlTable, source: str, base: MappingPlan | None) -> MappingPlan:
    rules_table = table.table("rules")
    file = table.table("file") or table.absent()
    rules = base.rules if base and rules_table is None else read_rules(rules_table)
    fields = {rule.name: rule for rule in base.fields} if base else {}
    if table.has("fields"):
        fields |= {rule.name: rule for rule in read_field_rules(table, rules)}
    plan = MappingPlan(
        source=source,
        record_id=table.text("record_id", base.record_id if base else ""),
        fields=tuple(fields.values()),
        rules=rules,
        postcodes_given=bool(rules_table and rules_table.has("postcodes"))
        or (base is not None and base.postcodes_given),
        encoding=file.text("encoding", base.encoding if base else ""),
        delimiter=file.text("delimiter", base.delimiter if base else ""),
        own={},
    )
    file.finish()
    if base is not None:
        table.finish()
        return plan
    sections = table.table("agency")
    own = {}
    for name in sections.keys if sections else ():
        section = sections.table(name) if sections else None
        if section is not None:
            own[name] = _plan(section, source, plan)
    if not plan.fields and not own:
        raise table.fail("fields", "is missing; it says which column each linkage field comes from")
    return MappingPlan(
        source, plan.record_id, plan.fields, rules, plan.postcodes_given, plan.encoding, plan.delimiter, own
    )


def fit_plan(plan: MappingPlan, agency: str, path: Path) -> FileMapping:
    """Lay a plan over one agency's file.

    :raises PilotError: no field, or none of an agency's own, is in the file.
    """
    own = plan.own.get(agency)
    used = own or plan
    header = read_header(path, used.encoding, used.delimiter)
    strict = {rule.name for rule in own.fields} - {rule.name for rule in plan.fields} if own else set()
    changed = {rule.name for rule in own.fields if rule not in plan.fields} if own else set()
    fields, notes = [], []
    for rule in used.fields:
        absent = [column for column in rule.columns if column not in header.columns]
        if absent and rule.name in strict | changed:
            raise PilotError(
                f'{plan.source}, agency.{agency}.fields.{rule.name}: {path.name} has no column "{absent[0]}"'
                f"{suggestion(absent[0], header.columns)}"
            )
        if absent:
            named = ", ".join(f'"{column}"' for column in absent)
            hint = suggestion(absent[0], header.columns)
            notes.append(f"{agency}: {path.name} has no column {named}, so {rule.name} is left out{hint}")
        else:
            fields.append(rule)
    if not fields:
        raise PilotError(f"{plan.source}: none of its columns is in {path.name}; {'; '.join(notes)}")
    record_id = used.record_id if used.record_id in header.columns else ""
    if used.record_id and not record_id:
        notes.append(f'{agency}: {path.name} has no column "{used.record_id}"; line numbers name its rows')
    return FileMapping(
        agency, header, record_id, tuple(fields), used.rules, used.postcodes_given, tuple(notes)
    )


def check_agencies(plan: MappingPlan, agencies: Sequence[str]) -> None:
    """Refuse sections of agencies that have no file.

    :raises PilotError: naming the first.
    """
    for name in plan.own:
        if name not in agencies:
            raise PilotError(
                f"{plan.source}: has a section for {name}, which has no file{suggestion(name, agencies)}"
            )
