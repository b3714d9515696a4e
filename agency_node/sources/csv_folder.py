"""A folder of delimited text files as a source of subjects and case records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from agency_node.mapping import CsvSettings, SourceMapping
from agency_node.sources.delimited import read_blocks
from agency_node.sources.joined import JoinedSource
from agency_node.sources.losses import TellLosses, log_losses
from agency_node.sources.problems import Problem
from agency_node.sources.rows import RawRow, RowBlock


class CsvFolderSource(JoinedSource):
    """Streams the main file; side files and record files are indexed on disk at the first need.

    The index takes about the size of those files in ``work_folder`` (by default the system's temporary
    folder) until the source is closed; memory does not grow with the files. Files are read as they were when
    first needed: where ``stamp`` changes, open a new source.
    """

    def __init__(
        self,
        mapping: SourceMapping,
        *,
        today: date,
        work_folder: Path | None = None,
        tell: TellLosses = log_losses,
    ) -> None:
        if not isinstance(mapping.source, CsvSettings):
            raise TypeError("the mapping describes a database, not a folder of files")
        super().__init__(mapping, today=today, work_folder=work_folder, tell=tell)
        self._settings = mapping.source
        self._reported: set[str] = set()

    def _scan(self, table: str, columns: tuple[str, ...], size: int) -> Iterator[RowBlock]:
        # one report per malformed row, however often the file is read
        report = _ignore if table in self._reported else self._bad_row
        self._reported.add(table)
        return read_blocks(self._settings, table, columns, report, size)

    def _files(self) -> Iterator[Path]:
        mapping = self._mapping
        subjects = [table for rule in mapping.subjects for table in rule.tables]
        for table in dict.fromkeys([*subjects, *(record.table for record in mapping.records)]):
            yield self._settings.folder / table

    def _probe(self, table: str, columns: tuple[str, ...]) -> None:
        next(read_blocks(self._settings, table, columns, _ignore, 1), None)

    def _find(
        self, table: str, subject_column: str, columns: tuple[str, ...], subjects: Sequence[str]
    ) -> dict[str, list[RawRow]]:
        key = "\x1f".join((table, subject_column, *columns))
        if not self._index.has(key):
            self._index.load(key, subject_column, self._rows(table, columns))
        return self._index.find(key, subjects)


def _ignore(problem: Problem) -> None:
    """Take no note: the row was reported when the file was first read."""
