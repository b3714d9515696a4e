"""How an agency's own tables become subjects and case records: the mapping file that agency IT writes.

A mapping is one TOML file::

    [source]                      # where the data is
    kind = "csv"                  # or "sql" with url = "..." or url_env = "NAME_OF_ENVIRONMENT_VARIABLE"
    folder = "data"               # relative to this file
    encoding = "utf-8"            # or cp1252, ...
    delimiter = ","
    on_bad_row = "skip"           # or "refuse"

    [rules]                       # all optional
    date_order = "dmy"
    first_of_january = "missing"  # or "keep"
    postcodes = "uk"              # or "any"

    [people]
    table = "people.csv"
    subject_id = "person_id"
    [people.fields]
    given_names = "forenames"                                       # a column
    sex = { column = "gender", values = { "1" = "M", "2" = "F" } }  # with a translation of codes
    date_of_birth = { day = "dob_day", month = "dob_mon", year = "dob_year" }
    street = { template = "{street_1} {street_2}" }
    town = { constant = "Leeds" }

    [[people.aliases]]            # likewise [[people.former_names]] and [[people.former_addresses]]
    table = "aliases.csv"
    subject_id = "person_id"
    fields = { given_names = "alias_forename", family_name = "alias_surname" }

    [[records]]
    record_type = "incident"
    table = "incidents.csv"
    record_id = "incident_no"
    subject_id = "person_id"
    occurred = "date"
    [records.fields]
    summary = "narrative"
    injuries = { column = "injuries", type = "integer" }
    [[records.markers]]
    marker = "refuge"
    column = "placement"
    values = ["REFUGE"]
    unmarked_values = ["Own tenancy"]   # any other cell counts as marked: see agency_node.mapping_markers

``full_name`` and ``full_address`` may be mapped instead of their parts. ``[places]`` has the form of
``[people]``.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from agency_node.mapping_markers import MarkerColumn, read_markers
from agency_node.mapping_toml import MappingError, TomlFile, TomlTable, suggestion
from agency_node.normalise import NORMALISERS, DateRule, NormaliseRules
from agency_node.subjects import SubjectType

FurtherKind = Literal["aliases", "former_names", "former_addresses"]
RecordFieldType = Literal["text", "integer", "number", "boolean", "date"]

TARGETS: Final = (*NORMALISERS, "full_name", "full_address")
"""The names that ``fields`` of people and places may map."""

_FURTHER: Final[tuple[FurtherKind, ...]] = ("aliases", "former_names", "former_addresses")
_RECORD_TYPES: Final[tuple[RecordFieldType, ...]] = ("text", "integer", "number", "boolean", "date")


@dataclass(frozen=True, slots=True)
class CellRule:
    """How one text is made from a row: columns joined by a space, a template over columns, or a constant."""

    columns: tuple[str, ...] = ()
    template: str = ""
    constant: str = ""
    translations: MappingOf[str, str] | None = None

    def read(self, cells: MappingOf[str, str]) -> str:
        """The text for one row; codes are translated when the whole cell equals one."""
        if self.template:
            text = self.template.format_map(cells) if any(cells[c].strip() for c in self.columns) else ""
        elif len(self.columns) == 1:
            text = cells[self.columns[0]]
        elif self.columns:
            text = " ".join(cell for column in self.columns if (cell := cells[column].strip()))
        else:
            text = self.constant
        if self.translations:
            return self.translations.get(text.strip(), text)
        return text


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One linkage field: its cell, or its day, month and year cells; its own date rule where it has one."""

    name: str
    cell: CellRule
    date_parts: tuple[CellRule, CellRule, CellRule] | None = None
    dates: DateRule | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the rule reads."""
        parts = self.date_parts or ()
        return (*self.cell.columns, *(column for part in parts for column in part.columns))


@dataclass(frozen=True, slots=True)
class TableRule:
    """A file or table whose rows describe subjects, with the column that holds the subject's number."""

    table: str
    subject_id: str
    fields: tuple[FieldRule, ...]
    markers: tuple[MarkerColumn, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column read, each once."""
        read = (
            self.subject_id,
            *(c for f in self.fields for c in f.columns),
            *(m.column for m in self.markers),
        )
        return tuple(dict.fromkeys(read))


@dataclass(frozen=True, slots=True)
class FurtherRule:
    """A table of aliases, former names or former addresses."""

    kind: FurtherKind
    table: TableRule


@dataclass(frozen=True, slots=True)
class SubjectRule:
    """People or places: the main table and the tables of further identities."""

    subject_type: SubjectType
    main: TableRule
    further: tuple[FurtherRule, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are read, the main one first."""
        return (self.main.table, *(rule.table.table for rule in self.further))


@dataclass(frozen=True, slots=True)
class RecordFieldRule:
    """One field of a case record and the type that its text must have."""

    name: str
    cell: CellRule
    type: RecordFieldType
    dates: DateRule | None = None


@dataclass(frozen=True, slots=True)
class RecordRule:
    """A table of case records of one type."""

    record_type: str
    subject_type: SubjectType
    table: str
    record_id: str
    subject_id: str
    occurred: FieldRule | None
    fields: tuple[RecordFieldRule, ...]
    markers: tuple[MarkerColumn, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column read, each once."""
        occurred = self.occurred.columns if self.occurred else ()
        read = (
            self.subject_id,
            self.record_id,
            *occurred,
            *(c for f in self.fields for c in f.cell.columns),
            *(m.column for m in self.markers),
        )
        return tuple(dict.fromkeys(read))


@dataclass(frozen=True, slots=True)
class CsvSettings:
    """A folder of delimited text files."""

    folder: Path
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'


@dataclass(frozen=True, slots=True)
class SqlSettings:
    """A database by SQLAlchemy URL; the repr shows nothing, for the URL may hold a password."""

    url: str

    def __repr__(self) -> str:
        return "SqlSettings(<redacted>)"


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """A whole mapping file."""

    source: CsvSettings | SqlSettings
    subjects: tuple[SubjectRule, ...]
    records: tuple[RecordRule, ...] = ()
    rules: NormaliseRules = field(default_factory=NormaliseRules)
    on_bad_row: Literal["skip", "refuse"] = "skip"

    def subject_rule(self, subject_type: SubjectType) -> SubjectRule | None:
        """The rule for people or for places, None where the mapping has none."""
        return next((rule for rule in self.subjects if rule.subject_type == subject_type), None)


def load_mapping(path: Path, environ: MappingOf[str, str] = os.environ) -> SourceMapping:
    """Read and check a mapping file; :class:`MappingError` tells the line and path of the first mistake."""
    root = TomlFile(path).root
    source_table = root.table("source")
    if source_table is None:
        raise root.fail("source", 'is missing; begin with [source] and kind = "csv" or "sql"')
    on_bad_row: Literal["skip", "refuse"] = source_table.choice("on_bad_row", ("skip", "refuse"), "skip")
    source = _source(source_table, path.parent, environ)
    rules = read_rules(root.table("rules"))
    subjects: list[SubjectRule] = []
    kinds: tuple[tuple[str, SubjectType], ...] = (("people", "person"), ("places", "place"))
    for key, subject_type in kinds:
        table = root.table(key)
        if table is not None:
            subjects.append(_subject_rule(table, subject_type, rules))
    records = tuple(_record_rule(table, rules) for table in root.tables("records"))
    root.finish()
    if not subjects:
        raise root.fail("people", "is missing; a mapping needs [people] or [places]")
    present = {rule.subject_type for rule in subjects}
    for index, record in enumerate(records, start=1):
        if record.subject_type not in present:
            raise root.fail(
                f"records[{index}]", f"is about a {record.subject_type}, which this file does not map"
            )
    return SourceMapping(source, tuple(subjects), records, rules, on_bad_row)


def _source(table: TomlTable, here: Path, environ: MappingOf[str, str]) -> CsvSettings | SqlSettings:
    kind = table.choice("kind", ("csv", "sql"), "csv")
    if kind == "sql":
        return _sql_source(table, environ)
    encoding = table.text("encoding", "utf-8")
    try:
        "".encode(encoding)
    except LookupError:
        raise table.fail("encoding", "is not a known text encoding; try utf-8 or cp1252") from None
    delimiter, quote = table.text("delimiter", ","), table.text("quote", '"')
    for key, value in (("delimiter", delimiter), ("quote", quote)):
        if len(value) != 1 or value in "\r\n":
            raise table.fail(key, 'must be one character; a tab is written "\\t"')
    if delimiter == quote:
        raise table.fail("quote", "must differ from the delimiter")
    settings = CsvSettings(here / table.text("folder", "."), encoding, delimiter, quote)
    table.finish()
    return settings


def _sql_source(table: TomlTable, environ: MappingOf[str, str]) -> SqlSettings:
    if table.has("url_env"):
        name = table.text("url_env")
        url = environ.get(name, "")
        if not url:
            raise table.fail("url_env", "names an environment variable that is not set")
        if table.has("url"):
            raise table.fail("url", "and url_env are both given; keep one")
    else:
        url = table.text("url")
    table.finish()
    return SqlSettings(url)


def read_rules(table: TomlTable | None) -> NormaliseRules:
    """The table ``rules``, or the defaults where there is none."""
    if table is None:
        return NormaliseRules()
    dates = _date_rule(table, DateRule(), order_key="date_order")
    phone_region = table.text("phone_region", "GB")
    if len(phone_region) != 2 or not phone_region.isupper():
        raise table.fail("phone_region", 'must be a country code of two capital letters, such as "GB"')
    postcodes: Literal["uk", "any"] = table.choice("postcodes", ("uk", "any"), "uk")
    table.finish()
    return NormaliseRules(dates, phone_region, postcodes)


def _date_rule(table: TomlTable, base: DateRule, order_key: str = "order") -> DateRule:
    """The date keys of a table laid over ``base``."""
    formats = table.texts("formats")
    for form in formats:
        if "%" not in form:
            raise table.fail("formats", 'must hold strptime formats such as "%d/%m/%Y"')
    pivot = table.number("pivot_year", base.pivot_year)
    if not 1900 < pivot < 2200:
        raise table.fail("pivot_year", "must be a year, as 2030: 29 is then 2029 and 30 is 1930")
    return replace(
        base,
        formats=formats or base.formats,
        order=table.choice(order_key, ("dmy", "mdy"), base.order),
        pivot_year=pivot,
        earliest_year=table.number("earliest_year", base.earliest_year),
        first_of_january=table.choice("first_of_january", ("missing", "keep"), base.first_of_january),
    )


def _subject_rule(table: TomlTable, subject_type: SubjectType, rules: NormaliseRules) -> SubjectRule:
    main = _table_rule(table, rules, with_markers=True)
    further = [
        FurtherRule(kind, _table_rule(entry, rules, with_markers=False, finish=True))
        for kind in _FURTHER
        for entry in table.tables(kind)
    ]
    table.finish()
    return SubjectRule(subject_type, main, tuple(further))


def _table_rule(
    table: TomlTable, rules: NormaliseRules, *, with_markers: bool, finish: bool = False
) -> TableRule:
    name, subject_id = table.text("table"), table.text("subject_id")
    field_rules = read_field_rules(table, rules)
    markers = read_markers(table) if with_markers else ()
    if finish:
        table.finish()
    return TableRule(name, subject_id, field_rules, markers)


def read_field_rules(table: TomlTable, rules: NormaliseRules) -> tuple[FieldRule, ...]:
    """The sub-table ``fields`` of a table: which column each linkage field comes from."""
    fields = table.table("fields")
    if fields is None or not fields.keys:
        raise table.fail("fields", "is missing; it says which column each linkage field comes from")
    for key in fields.keys:
        if key not in TARGETS:
            raise fields.fail(key, f"is not a linkage field{suggestion(key, TARGETS)}")
    field_rules = tuple(_field_rule(fields, key, rules.dates) for key in fields.keys)
    fields.finish()
    return field_rules


def _field_rule(fields: TomlTable, key: str, dates: DateRule) -> FieldRule:
    found = fields.text_or_table(key)
    if isinstance(found, str):
        return FieldRule(key, CellRule((found,)))
    is_date = key in ("date_of_birth", "occurred")
    own_dates = _date_rule(found, dates) if is_date else None
    if is_date and any(found.has(part) for part in ("day", "month", "year")):
        parts = tuple(
            CellRule((found.text(part),)) if found.has(part) else CellRule()
            for part in ("day", "month", "year")
        )
        found.finish()
        return FieldRule(key, CellRule(), (parts[0], parts[1], parts[2]), own_dates)
    cell = _cell_rule(found)
    found.finish()
    return FieldRule(key, cell, None, own_dates)


def _cell_rule(table: TomlTable) -> CellRule:
    ways = [key for key in ("column", "columns", "template", "constant") if table.has(key)]
    if len(ways) != 1:
        raise table.fail("column", "needs exactly one of column, columns, template or constant")
    translations = table.translations("values") or None
    match ways[0]:
        case "column":
            return CellRule((table.text("column"),), translations=translations)
        case "columns":
            return CellRule(table.texts("columns"), translations=translations)
        case "constant":
            return CellRule(constant=table.text("constant"))
        case _:
            template = table.text("template")
            return CellRule(_template_columns(table, template), template=template, translations=translations)


def _template_columns(table: TomlTable, template: str) -> tuple[str, ...]:
    """The columns of a template; only plain ``{column}`` places, for others could reach into objects."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError:
        raise table.fail("template", "has an unpaired brace; write columns as {column}") from None
    columns: list[str] = []
    for _, name, spec, conversion in parsed:
        if name is None:
            continue
        if not name or spec or conversion or "." in name or "[" in name:
            raise table.fail("template", "may hold only plain places such as {street_1}")
        columns.append(name)
    if not columns:
        raise table.fail("template", "names no column; for a fixed text use constant")
    return tuple(columns)


def _record_rule(table: TomlTable, rules: NormaliseRules) -> RecordRule:
    # an event may well have happened on 1 January
    dates = replace(rules.dates, first_of_january="keep")
    fields_table = table.table("fields")
    fields: list[RecordFieldRule] = []
    for key in fields_table.keys if fields_table else ():
        assert fields_table is not None
        fields.append(_record_field(fields_table, key, dates))
    rule = RecordRule(
        record_type=table.text("record_type"),
        subject_type=table.choice("subject_type", ("person", "place"), "person"),
        table=table.text("table"),
        record_id=table.text("record_id"),
        subject_id=table.text("subject_id"),
        occurred=_field_rule(table, "occurred", dates) if table.has("occurred") else None,
        fields=tuple(fields),
        markers=read_markers(table),
    )
    if fields_table is not None:
        fields_table.finish()
    table.finish()
    return rule


def _record_field(fields: TomlTable, key: str, dates: DateRule) -> RecordFieldRule:
    found = fields.text_or_table(key)
    if isinstance(found, str):
        return RecordFieldRule(key, CellRule((found,)), "text")
    kind = found.choice("type", _RECORD_TYPES, "text")
    own_dates = _date_rule(found, dates) if kind == "date" else None
    cell = _cell_rule(found)
    found.finish()
    return RecordFieldRule(key, cell, kind, own_dates)


__all__ = [
    "TARGETS",
    "CellRule",
    "CsvSettings",
    "FieldRule",
    "FurtherRule",
    "MappingError",
    "RecordFieldRule",
    "RecordRule",
    "SourceMapping",
    "SqlSettings",
    "SubjectRule",
    "TableRule",
    "load_mapping",
    "read_field_rules",
    "read_rules",
]
