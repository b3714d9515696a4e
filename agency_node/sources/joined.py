"""What every source does alike: join main rows with side tables in chunks, build subjects and records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final, Self

from agency_node.mapping import SourceMapping, SubjectRule, TableRule
from agency_node.mapping_markers import markers_of
from agency_node.normalise import NormalisationReport
from agency_node.sources.assemble import Assembler
from agency_node.sources.errors import BadRowError, SourceError
from agency_node.sources.index import RowIndex
from agency_node.sources.losses import TellLosses, log_losses
from agency_node.sources.problems import Problem, ProblemLog, RowFault
from agency_node.sources.rows import RawChunk, RawRow, RowBlock
from agency_node.sources.stamps import SourceStamp
from agency_node.subjects import CaseRecord, Subject, SubjectId, SubjectType

BLOCK_ROWS: Final = 2_000
"""Rows that are read at a time where nobody asks for another number."""


class JoinedSource(ABC):
    """A :class:`SubjectSource` over tables that it can scan, and search by subject number.

    Memory is bounded by one chunk of subjects with their side rows. Rows that are left out are told to
    ``tell``, which is the log unless somebody shows them in another way.
    """

    def __init__(
        self,
        mapping: SourceMapping,
        *,
        today: date,
        work_folder: Path | None = None,
        tell: TellLosses = log_losses,
    ) -> None:
        self._mapping = mapping
        self._today = today
        self._report = NormalisationReport()
        self._problems = ProblemLog()
        self._assembler = Assembler(mapping.rules, self._report, self._problems, today)
        # reading one subject again must not count it twice
        self._asked = ProblemLog()
        self._quiet = Assembler(mapping.rules, NormalisationReport(), self._asked, today)
        self._tell = tell
        self._told: set[str] = set()
        self._index = RowIndex(work_folder)

    @property
    def report(self) -> NormalisationReport:
        return self._report

    @property
    def problems(self) -> ProblemLog:
        return self._problems

    def subjects(
        self, subject_type: SubjectType = "person", *, chunk: int = BLOCK_ROWS
    ) -> Iterator[list[Subject]]:
        """Every subject in chunks; malformed rows are reported and skipped, or raise :class:`BadRowError`."""
        rule = self._mapping.subject_rule(subject_type)
        if rule is not None:
            for raw in self.raw_chunks(subject_type, chunk=chunk):
                yield self._assembler.subjects(rule, raw)

    def raw_chunks(
        self, subject_type: SubjectType = "person", *, chunk: int = BLOCK_ROWS
    ) -> Iterator[RawChunk]:
        """The rows of every subject, side tables joined, before any of them is normalised.

        ``Assembler.subjects`` makes subjects of them, here or in another process.
        """
        rule = self._mapping.subject_rule(subject_type)
        if rule is None:
            return
        self._index.forget_seen(subject_type)
        for block in self._blocks(rule.main.table, rule.main.columns, chunk):
            subjects, usable = self._usable(rule, block)
            if subjects:
                yield self._joined(rule, subjects, usable)

    @property
    def mapping(self) -> SourceMapping:
        """The mapping that the source was opened with."""
        return self._mapping

    @property
    def today(self) -> date:
        """The day after which nobody can have been born."""
        return self._today

    def subject(self, subject_id: SubjectId, subject_type: SubjectType = "person") -> Subject | None:
        """One subject with the markers of all its main rows, or None where the source does not hold it."""
        rule = self._mapping.subject_rule(subject_type)
        rows = self._main_rows(rule, subject_id)
        if rule is None or not rows:
            return None
        (subject,) = self._quiet.subjects(rule, self._joined(rule, [subject_id], RowBlock.of(rows[:1])))
        return replace(subject, markers=_markers_of_all(rule, rows))

    def records_for(self, subject_id: SubjectId, subject_type: SubjectType = "person") -> list[CaseRecord]:
        """The case records of one subject; markers of any of the subject's main rows hold for each."""
        rule = self._mapping.subject_rule(subject_type)
        rows = self._main_rows(rule, subject_id)
        if rule is None or not rows:
            return []
        inherited = _markers_of_all(rule, rows)
        records: list[CaseRecord] = []
        for record_rule in self._mapping.records:
            if record_rule.subject_type != subject_type:
                continue
            found = self._find(record_rule.table, record_rule.subject_id, record_rule.columns, [subject_id])
            built = (self._quiet.record(record_rule, r, inherited) for r in found.get(subject_id, []))
            records += [record for record in built if record is not None]
        self._tell(self._asked.take())
        return records

    def check_side_tables(self) -> None:
        """Read all side tables and records for the report: orphans, wrong types. Call after ``subjects``."""
        for rule in self._mapping.subjects:
            for further in rule.further:
                for row in self._rows(further.table.table, further.table.columns):
                    self._check_owner(rule.subject_type, further.table.subject_id, row)
        for record_rule in self._mapping.records:
            for row in self._rows(record_rule.table, record_rule.columns):
                if self._check_owner(record_rule.subject_type, record_rule.subject_id, row):
                    self._assembler.record(record_rule, row, frozenset())

    def structure_faults(self) -> list[str]:
        """What stops the mapping from working at all: files, tables or columns that are not there."""
        wanted = [(rule.main.table, rule.main.columns) for rule in self._mapping.subjects]
        wanted += [(f.table.table, f.table.columns) for rule in self._mapping.subjects for f in rule.further]
        wanted += [(record.table, record.columns) for record in self._mapping.records]
        faults: dict[str, None] = {}
        for table, columns in wanted:
            try:
                self._probe(table, columns)
            except SourceError as error:
                faults[str(error)] = None
        return list(faults)

    def count_repeated(self, keys: Sequence[str]) -> int:
        """How many of the keys were given before, in this call or an earlier one."""
        return self._index.first_time("repeated", keys).count(False)

    def stamp(self) -> SourceStamp:
        return SourceStamp.of(self._files())

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @abstractmethod
    def _scan(self, table: str, columns: tuple[str, ...], size: int) -> Iterator[RowBlock]:
        """Every well-formed row of a table, in blocks of at most ``size``."""

    @abstractmethod
    def _files(self) -> Iterable[Path]:
        """The files whose rows are kept once they were read."""

    @abstractmethod
    def _probe(self, table: str, columns: tuple[str, ...]) -> None:
        """Raise :class:`SourceError` where the table or one of the columns is not there."""

    @abstractmethod
    def _find(
        self, table: str, subject_column: str, columns: tuple[str, ...], subjects: Sequence[str]
    ) -> dict[str, list[RawRow]]:
        """The rows of a table that belong to the given subject numbers."""

    def _bad_row(self, problem: Problem) -> None:
        """Report a malformed row, or refuse it where the mapping says so."""
        if self._mapping.on_bad_row == "refuse":
            raise BadRowError(
                f'{problem.render()}. Correct the row, or set on_bad_row = "skip" to leave it out.'
            )
        self._problems.add(problem)

    def _blocks(self, table: str, columns: tuple[str, ...], size: int) -> Iterator[RowBlock]:
        """As :meth:`_scan`; when a table was read to its end for the first time, its losses are told."""
        yield from self._scan(table, columns, size)
        if table not in self._told:
            self._told.add(table)
            self._tell(self._problems.in_table(table))

    def _rows(self, table: str, columns: tuple[str, ...]) -> Iterator[RawRow]:
        return (row for block in self._blocks(table, columns, BLOCK_ROWS) for row in block.rows())

    def _usable(self, rule: SubjectRule, block: RowBlock) -> tuple[list[str], RowBlock]:
        """The subjects' numbers and their rows, without the rows that have none or repeat one."""
        column = rule.main.subject_id
        ids = [cell.strip() for cell in block.column(column)]
        new = self._index.first_time(rule.subject_type, ids)
        if all(new) and all(ids):
            return ids, block
        kept = []
        for place, (subject, is_new) in enumerate(zip(ids, new, strict=True)):
            if subject and is_new:
                kept.append(place)
            else:
                fault = RowFault.DUPLICATE_SUBJECT_ID if subject else RowFault.NO_SUBJECT_ID
                self._bad_row(Problem(block.table, block.lines[place], column, fault))
        return [ids[place] for place in kept], block.take(kept)

    def _joined(self, rule: SubjectRule, subjects: Sequence[str], block: RowBlock) -> RawChunk:
        tables = [further.table for further in rule.further]
        sides = (self._find(table.table, table.subject_id, table.columns, subjects) for table in tables)
        return RawChunk(rule.subject_type, subjects, block, tuple(sides))

    def _main_rows(self, rule: SubjectRule | None, subject_id: str) -> Sequence[RawRow]:
        """The rows of the main table under a number: one, unless the agency listed somebody twice."""
        if rule is None or not subject_id:
            return ()
        main: TableRule = rule.main
        return self._find(main.table, main.subject_id, main.columns, [subject_id]).get(subject_id, ())

    def _check_owner(self, subject_type: SubjectType, column: str, row: RawRow) -> bool:
        subject = row.cells[column].strip()
        if subject and self._index.was_seen(subject_type, subject):
            return True
        fault = RowFault.UNKNOWN_SUBJECT if subject else RowFault.NO_SUBJECT_ID
        self._problems.add(Problem(row.table, row.line, column, fault))
        return False


def _markers_of_all(rule: SubjectRule, rows: Sequence[RawRow]) -> frozenset[str]:
    return frozenset().union(*(markers_of(rule.main.markers, row.cells) for row in rows))
