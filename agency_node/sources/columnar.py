"""From raw rows to identities column by column: what :mod:`agency_node.sources.assemble` does row by row.

Most subjects of a register have one row and one name. Their values never become objects of their own; only
who has further names or addresses is put together one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from agency_node.mapping import CellRule, FieldRule, SubjectRule, TableRule
from agency_node.mapping_markers import markers_of
from agency_node.normalise import (
    DateRule,
    NormalisationReport,
    NormaliseRules,
    Outcome,
    joined_address,
    normaliser_of,
    read_address,
    read_date,
    read_date_parts,
    read_full_name,
    read_name,
)
from agency_node.normalise.columns import ColumnReader, Count, Read
from agency_node.normalise.names import read_family_name, read_given_names
from agency_node.normalise.numbers import are_plain_nhs_numbers
from agency_node.normalise.text import is_blank
from agency_node.sources.assemble import Assembler
from agency_node.sources.problems import Problem, ProblemLog, RowFault
from agency_node.sources.rows import RawChunk, RowBlock
from agency_node.subjects import Identity, Subject, SubjectId

_NAMES: Final = {"given_names": read_given_names, "family_name": read_family_name}
_ADDRESS_PARTS: Final = ("house", "street", "town", "postcode")
_LATER: Final = ("date_of_birth", "full_name", "full_address", *_NAMES)
"""Fields that are read after the others, in the order of the row by row way."""


@dataclass(frozen=True, slots=True)
class IdentityColumns:
    """The current identities of a chunk's subjects by linkage field ("" where missing).

    ``further`` holds all identities, the current one first, of each subject that has more than one, by its
    place in the chunk.
    """

    fields: Mapping[str, Sequence[str]]
    further: Mapping[int, tuple[Identity, ...]]

    def __repr__(self) -> str:
        return f"IdentityColumns(<{len(self.fields)} fields>)"

    def identities(self, place: int) -> tuple[Identity, ...]:
        """The identities of one subject, as the row by row way gives them."""
        return self.further.get(place) or (Identity(self.current(place)),)

    def current(self, place: int) -> dict[str, str]:
        """The current identity's fields of one subject."""
        return {name: value for name, column in self.fields.items() if (value := column[place])}


class ColumnAssembler:
    """Reads chunks of one kind of subject; ``today`` bounds dates of birth from above. Not thread-safe."""

    def __init__(
        self,
        rule: SubjectRule,
        rules: NormaliseRules,
        report: NormalisationReport,
        problems: ProblemLog,
        today: date,
    ) -> None:
        self._rule, self._report, self._problems = rule, report, problems
        self._rows = Assembler(rules, report, problems, today)
        dated = replace(rules, dates=replace(rules.dates, latest=today))
        self._columns = list(_columns(rule.main, dated, today))

    def read(self, chunk: RawChunk) -> IdentityColumns:
        """The identities of every subject of a chunk, which has at least one."""
        fields: dict[str, Sequence[str]] = {}
        with_more_names: set[int] = set()
        for column in self._columns:
            reading = column.reader.read(column.keys(chunk.main))
            reading.record(self._report)
            for place, counts in reading.drops():
                self._note_drops(chunk.main, place, column, counts)
            for name, values in zip(column.names, reading.values, strict=True):
                before = fields.get(name)
                fields[name] = (
                    values if before is None else [n or o for n, o in zip(values, before, strict=True)]
                )
            with_more_names.update(reading.remarks())
        self._note_marks(chunk.main)
        houses, streets = fields.get("house"), fields.get("street")
        if houses is not None and streets is not None:
            fields["address"] = list(map(joined_address, houses, streets))
        columns = IdentityColumns(fields, {})
        return replace(columns, further=self._further(chunk, columns, with_more_names))

    def subjects(self, chunk: RawChunk, columns: IdentityColumns, count: int) -> tuple[Subject, ...]:
        """The first subjects of a chunk that was read, as objects."""
        marked = self._rule.main.markers
        return tuple(
            Subject(
                SubjectId(chunk.subjects[place]),
                chunk.subject_type,
                columns.identities(place),
                markers_of(marked, chunk.main.row(place).cells),
            )
            for place in range(min(count, len(chunk)))
        )

    def _further(
        self, chunk: RawChunk, columns: IdentityColumns, with_more_names: set[int]
    ) -> dict[int, tuple[Identity, ...]]:
        sides = list(zip(self._rule.further, chunk.sides, strict=True))
        places = with_more_names
        if any(found for _, found in sides):
            owners = {subject for _, found in sides for subject in found}
            places = places | {place for place, subject in enumerate(chunk.subjects) if subject in owners}
        found_identities = {}
        for place in sorted(places):
            names = self._more_names(chunk.main, place) if place in with_more_names else ()
            subject = chunk.subjects[place]
            rows = [(rule, row) for rule, found in sides for row in found.get(subject, ())]
            identities = self._rows.identities(columns.current(place), names, rows)
            if len(identities) > 1:
                found_identities[place] = identities
        return found_identities

    def _more_names(self, block: RowBlock, place: int) -> list[tuple[str, str]]:
        """Further names that the name cells of one row tell of."""
        cells = block.row(place).cells
        by_name = {field.name: field.cell for field in self._rule.main.fields}
        names: list[tuple[str, str]] = []
        if "full_name" in by_name:
            names += read_full_name(by_name["full_name"].read(cells)).further
        if any(name in by_name for name in _NAMES):
            given, family = (by_name[name].read(cells) if name in by_name else "" for name in _NAMES)
            names += read_name(given, family).further
        return names

    def _note_marks(self, block: RowBlock) -> None:
        for marker in self._rule.main.markers:
            cells = block.column(marker.column)
            odd = {cell for cell in set(cells) if not marker.explains(cell)}
            for line in (line for line, cell in zip(block.lines, cells, strict=True) if cell in odd):
                self._problems.add(Problem(block.table, line, marker.column, RowFault.UNEXPLAINED_MARK))

    def _note_drops(self, block: RowBlock, place: int, column: _Column, counts: tuple[Count, ...]) -> None:
        for count in counts:
            for reason in count.reasons:
                if reason.effect == "dropped":
                    self._problems.add(Problem(block.table, block.lines[place], column.label, reason))


@dataclass(frozen=True, slots=True)
class _Column:
    """One field rule: the source's columns that it reads, and the linkage fields that it gives."""

    sources: tuple[str, ...]
    names: tuple[str, ...]
    label: str
    reader: ColumnReader[Hashable]

    def keys(self, block: RowBlock) -> Sequence[Hashable]:
        """What the reader is given for each row: the cell, or the cells where there are several or none."""
        if len(self.sources) == 1:
            return block.column(self.sources[0])
        if not self.sources:
            return [()] * len(block)
        return list(zip(*map(block.column, self.sources), strict=True))


def _columns(table: TableRule, rules: NormaliseRules, today: date) -> Iterator[_Column]:
    mapped = frozenset(field.name for field in table.fields)
    first = [field for field in table.fields if field.name not in _LATER]
    special = [field for field in table.fields if field.name in _LATER and field.name not in _NAMES]
    names = [field for name in _NAMES for field in table.fields if field.name == name]
    own = next((field.dates for field in table.fields if field.name == "date_of_birth"), None)
    dates = replace(own, latest=today) if own else rules.dates
    for field in (*first, *special, *names):
        outputs, read = _reader_of(field, rules, dates, mapped)
        sources = tuple(dict.fromkeys(field.columns))
        as_it_stands = len(sources) == 1 and field.cell == CellRule(sources)
        reader: ColumnReader[Hashable] = ColumnReader(partial(_with_cells, read, sources))
        if as_it_stands and field.name not in _LATER:
            is_plain = _are_plain_nhs_numbers if field.name == "nhs_number" else None
            read_cell = partial(_read_cell, field.name, normaliser_of(field.name, rules))
            reader = ColumnReader(read_cell, field=field.name, is_plain=is_plain)
        yield _Column(sources, outputs, " ".join(field.columns), reader)


def _are_plain_nhs_numbers(cells: Sequence[Hashable]) -> NDArray[np.bool_]:
    return are_plain_nhs_numbers(cast(Sequence[str], cells))  # the reader of one column gets its cells


def _with_cells(read: Callable[[Mapping[str, str]], Read], sources: tuple[str, ...], key: Hashable) -> Read:
    """Read a key of :meth:`_Column.keys` as cells by column."""
    cells = (key,) if isinstance(key, str) else key
    assert isinstance(cells, tuple)
    return read(dict(zip(sources, cells, strict=True)))


def _reader_of(
    field: FieldRule, rules: NormaliseRules, dates: DateRule, mapped: frozenset[str]
) -> tuple[tuple[str, ...], Callable[[Mapping[str, str]], Read]]:
    """The linkage fields that a field rule gives, and how the cells of one row become them."""
    name = field.name
    if name == "date_of_birth":
        return (name, "birth_year", "birth_day_month"), partial(_read_birth, field, dates)
    if name == "full_name":
        return tuple(_NAMES), partial(_read_full_name, field)
    if name == "full_address":
        parts = tuple(part for part in _ADDRESS_PARTS if part not in mapped)
        return parts, partial(_read_full_address, field, parts)
    if name in _NAMES:
        return (name,), partial(_read_name_part, field)
    return (name,), partial(_read_plain, field, normaliser_of(name, rules))


def _read_cell(name: str, normalise: Callable[[str], Outcome], cell: Hashable) -> Read:
    """The cell of a field rule that is no more than a column."""
    assert isinstance(cell, str)
    outcome = normalise(cell)
    return Read((outcome.value,), (Count.of(name, outcome, given=not is_blank(cell)),))


def _read_plain(field: FieldRule, normalise: Callable[[str], Outcome], cells: Mapping[str, str]) -> Read:
    text = field.cell.read(cells)
    outcome = normalise(text)
    return Read((outcome.value,), (Count.of(field.name, outcome, given=not is_blank(text)),))


def _read_name_part(field: FieldRule, cells: Mapping[str, str]) -> Read:
    text = field.cell.read(cells)
    part = _NAMES[field.name](text)
    count = Count.of(field.name, part.outcome, given=not is_blank(text))
    return Read((part.outcome.value,), (count,), remark=bool(part.former or part.aliases))


def _read_full_name(field: FieldRule, cells: Mapping[str, str]) -> Read:
    text = field.cell.read(cells)
    full, given = read_full_name(text), not is_blank(text)
    counts = (
        Count.of("given_names", full.given, given=given),
        Count.of("family_name", full.family, given=given),
    )
    return Read((full.given.value, full.family.value), counts, remark=bool(full.further))


def _read_full_address(field: FieldRule, parts: tuple[str, ...], cells: Mapping[str, str]) -> Read:
    reading = read_address(field.cell.read(cells))
    outcomes = dict(
        zip(_ADDRESS_PARTS, (reading.house, reading.street, reading.town, reading.postcode), strict=True)
    )
    found = [(part, outcomes[part]) for part in parts]
    counts = tuple(Count.of(part, one, given=bool(one.value or one.reasons)) for part, one in found)
    return Read(tuple(one.value for _, one in found), counts)


def _read_birth(field: FieldRule, rule: DateRule, cells: Mapping[str, str]) -> Read:
    if field.date_parts is not None:
        day, month, year = (part.read(cells) for part in field.date_parts)
        reading = read_date_parts(day, month, year, rule)
    else:
        reading = read_date(field.cell.read(cells), rule)
    given = not all(map(is_blank, cells.values()))
    count = Count.of("date_of_birth", Outcome(reading.iso, reading.reasons), given=given)
    return Read((reading.iso, reading.birth_year, reading.birth_day_month), (count,))
