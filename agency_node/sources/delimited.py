"""Streaming reader of delimited text that loses no row silently.

Python's ``csv`` module parses each record (RFC 4180 quoting, strict); this module decides what a record is.
A quoted cell may span lines, but a quote that nobody closes would swallow the rest of a file: after
``MAX_RECORD_LINES`` lines, at the end of the file, or where the record does not fit the header, only the line
with that quote is reported as bad and reading goes on at the next line. Bytes that the encoding does not have
are found cell by cell, so that the report names the column.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from agency_node.mapping import CsvSettings
from agency_node.mapping_toml import suggestion
from agency_node.sources.errors import SourceError, SourceStructureError
from agency_node.sources.problems import Problem, RowFault
from agency_node.sources.rows import RawRow

MAX_RECORD_LINES: Final = 500
"""Lines that one quoted record may span; free-text narratives stay far below."""

MAX_CELL_CHARACTERS: Final = 100_000

_UNFINISHED: Final = "unexpected end of data"


def table_path(settings: CsvSettings, table: str) -> Path:
    """The file of a table; a table cannot name a file outside the folder."""
    folder = settings.folder.resolve()
    path = (folder / table).resolve()
    if not path.is_relative_to(folder):
        raise SourceStructureError(f"{table}: lies outside the source folder; name a file inside it")
    if not path.is_file():
        known = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        raise SourceError(f"{table}: no such file in {settings.folder}{suggestion(table, known)}")
    return path


def read_delimited(
    settings: CsvSettings, table: str, columns: tuple[str, ...], report: Callable[[Problem], None]
) -> Iterator[RawRow]:
    """The rows of one file, wanted columns only; each malformed row goes to ``report`` and is left out."""
    path = table_path(settings, table)
    encoding = (
        "utf-8-sig" if settings.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else settings.encoding
    )
    try:
        # surrogateescape keeps undecodable bytes apart, so that one bad byte costs one row and not the file
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
            records = _records(stream, settings, table, report)
            header = next(records, None)
            if header is None:
                raise SourceStructureError(f"{table}: is empty; a header row with column names is needed")
            names = [name.strip() for name in header[1]]
            places = _places(table, names, columns)
            for line, cells, end, is_clean in records:
                fits = is_clean and len(cells) == len(names)
                problem = None if fits else _fault_of(table, line, names, cells)
                if problem is not None and end > line:
                    problem = replace(problem, detail=f"the row ends on line {end}")
                if problem is None:
                    yield RawRow(table, line, {name: cells[place] for name, place in places})
                else:
                    report(problem)
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{table}: cannot be read as {settings.encoding} ({type(error).__name__})"
        ) from None


def _places(table: str, names: list[str], columns: tuple[str, ...]) -> list[tuple[str, int]]:
    """The place of each wanted column in the header."""
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    clash = [name for name in repeated if name in columns]
    if clash:
        raise SourceStructureError(f'{table}, line 1: the header has "{clash[0]}" twice; rename one of them')
    for column in columns:
        if column not in names:
            hint = suggestion(column, names)
            if len(names) == 1 and (other := next((mark for mark in ";\t|," if mark in names[0]), "")):
                hint = f"; the header is one column, so perhaps the delimiter is {other!r}"
            raise SourceStructureError(f'{table}, line 1: there is no column "{column}"{hint}')
    return [(column, names.index(column)) for column in columns]


def _fault_of(table: str, line: int, names: list[str], cells: list[str]) -> Problem | None:
    if len(cells) != len(names):
        fault = RowFault.TOO_FEW_CELLS if len(cells) < len(names) else RowFault.TOO_MANY_CELLS
        return Problem(table, line, "", fault, f"expected {len(names)}, found {len(cells)}")
    for name, cell in zip(names, cells, strict=True):
        if len(cell) > MAX_CELL_CHARACTERS:
            return Problem(
                table, line, name, RowFault.CELL_TOO_LONG, f"more than {MAX_CELL_CHARACTERS:,} characters"
            )
        if not cell.isascii() and any("\ud800" <= char <= "\udfff" for char in cell):
            return Problem(table, line, name, RowFault.BAD_ENCODING)
        if "\0" in cell:
            return Problem(table, line, name, RowFault.NUL_CHARACTER)
    return None


def _records(
    stream: Iterator[str], settings: CsvSettings, table: str, report: Callable[[Problem], None]
) -> Iterator[tuple[int, list[str], int, bool]]:
    """Each record with its first and last line numbers, and whether it is plain ASCII."""
    waiting: deque[str] = deque()
    line = width = 0
    while True:
        text = waiting.popleft() if waiting else next(stream, None)
        if text is None:
            return
        line += 1
        if not text.strip("\r\n"):
            continue
        cells, used, fault = _parse_record(text, waiting, stream, settings, width)
        if fault is not None:
            report(Problem(table, line, "", fault))
            continue
        width = width or len(cells)
        is_clean = not used and text.isascii() and "\0" not in text and len(text) < MAX_CELL_CHARACTERS
        yield line, cells, line + used, is_clean
        for _ in range(used):
            waiting.popleft()
        line += used


def _parse_record(
    first: str, waiting: deque[str], stream: Iterator[str], settings: CsvSettings, width: int
) -> tuple[list[str], int, RowFault | None]:
    """The cells of the record that begins with ``first``, and how many waiting lines it took as well.

    Where it cannot be parsed, only ``first`` counts as lost; other lines read on the way stay in ``waiting``.
    """
    delimiter = settings.delimiter
    if settings.quote not in first and " " not in (delimiter, first[0]) and f"{delimiter} " not in first:
        # csv would do no more than cut such a line, but takes far longer to set out
        return first.rstrip("\r\n").split(delimiter), 0, None
    cells, error = _parse(first, settings)
    if cells is not None:
        return cells, 0, None
    if error != _UNFINISHED:
        return [], 0, RowFault.BAD_QUOTING
    lines = [first]
    for used in range(1, MAX_RECORD_LINES):
        if used > len(waiting):
            following = next(stream, None)
            if following is None:
                return [], 0, RowFault.UNCLOSED_QUOTE
            waiting.append(following)
        lines.append(waiting[used - 1])
        if settings.quote not in waiting[used - 1]:
            continue
        cells, error = _parse("".join(lines), settings)
        if cells is not None and len(cells) == (width or len(cells)):
            return cells, used, None
        if cells is not None or error != _UNFINISHED:
            return [], 0, RowFault.UNCLOSED_QUOTE
    return [], 0, RowFault.UNCLOSED_QUOTE


def _parse(text: str, settings: CsvSettings) -> tuple[list[str] | None, str]:
    # a list of one text lets csv see line ends inside quotes; some files have a space after each delimiter
    reader = csv.reader(
        [text], delimiter=settings.delimiter, quotechar=settings.quote, strict=True, skipinitialspace=True
    )
    try:
        return next(reader, []), ""
    except csv.Error as error:
        message = str(error)
        if message.startswith("field larger than field limit"):
            return [text], ""
        return None, message
