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
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

from agency_node.mapping import CsvSettings
from agency_node.mapping_toml import suggestion
from agency_node.sources.errors import SourceError, SourceStructureError
from agency_node.sources.problems import Problem, RowFault
from agency_node.sources.rows import RawRow, RowBlock

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
    for block in read_blocks(settings, table, columns, report):
        yield from block.rows()


def read_blocks(
    settings: CsvSettings,
    table: str,
    columns: tuple[str, ...],
    report: Callable[[Problem], None],
    size: int = 1_000,
) -> Iterator[RowBlock]:
    """As :func:`read_delimited`, in blocks of at most ``size`` rows."""
    path = table_path(settings, table)
    encoding = (
        "utf-8-sig" if settings.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else settings.encoding
    )
    try:
        # surrogateescape keeps undecodable bytes apart, so that one bad byte costs one row and not the file
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as stream:
            lines = _Lines(stream, settings, table, report)
            header = lines.header()
            if header is None:
                raise SourceStructureError(f"{table}: is empty; a header row with column names is needed")
            names = [name.strip() for name in header]
            places = _places(table, names, columns)
            while lines.more(size):
                numbers, cells = lines.plain(len(names), places) or lines.records(names, places, size)
                if numbers:
                    yield RowBlock(table, columns, numbers, cells)
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{table}: cannot be read as {settings.encoding} ({type(error).__name__})"
        ) from None


def _places(table: str, names: list[str], columns: tuple[str, ...]) -> list[int]:
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
    return [names.index(column) for column in columns]


def _fault_of(table: str, line: int, names: Sequence[str], cells: list[str]) -> Problem | None:
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


_Block = tuple[Sequence[int], tuple[Sequence[str], ...]]
"""Line numbers of rows, and the wanted cells column by column."""


class _Lines:
    """The lines of a file: those that were read and wait, and those to come."""

    def __init__(
        self, stream: Iterator[str], settings: CsvSettings, table: str, report: Callable[[Problem], None]
    ) -> None:
        self._stream, self._settings, self._table, self._report = stream, settings, table, report
        self._waiting: deque[str] = deque()
        self._line = 0

    def more(self, size: int) -> bool:
        """Read on up to ``size`` waiting lines; whether there are any."""
        self._waiting.extend(islice(self._stream, max(0, size - len(self._waiting))))
        return bool(self._waiting)

    def header(self) -> list[str] | None:
        """The first record, None in a file without any."""
        while self.more(1):
            for _, cells, _, _ in self._records(0):
                return cells
        return None

    def plain(self, width: int, places: Sequence[int]) -> _Block | None:
        """All waiting lines where each is one sound record of ``width`` cells, or None: then nothing is done.

        What most of every file is like, and read many rows at a time.
        """
        lines = self._waiting
        text = "".join(lines)
        if "\0" in text or _has_undecodable(text) or max(map(len, lines)) >= MAX_CELL_CHARACTERS:
            return None
        cells = self._split(lines, text, width)
        if cells is None:
            return None
        numbers = range(self._line + 1, self._line + 1 + len(lines))
        self._line += len(lines)
        lines.clear()
        return numbers, tuple(cells[place::width] for place in places)

    def records(self, names: Sequence[str], places: Sequence[int], size: int) -> _Block:
        """The sound rows among the waiting lines, one by one; what is wrong with others is reported."""
        numbers: list[int] = []
        rows: list[list[str]] = []
        for line, cells, end, is_clean in self._records(len(names)):
            fits = is_clean and len(cells) == len(names)
            problem = None if fits else _fault_of(self._table, line, names, cells)
            if problem is None:
                numbers.append(line)
                rows.append(cells)
                if len(rows) == size:
                    break
            else:
                detail = f"the row ends on line {end}" if end > line else problem.detail
                self._report(replace(problem, detail=detail))
        return numbers, tuple([row[place] for row in rows] for place in places)

    def _split(self, lines: Collection[str], text: str, width: int) -> list[str] | None:
        """The cells of lines that are one record of so many cells each; None where some line may be none."""
        delimiter, quote = self._settings.delimiter, self._settings.quote
        text = text.replace("\r\n", "\n")
        spaced = delimiter == " " or f"{delimiter} " in text or text[0] == " " or "\n " in text
        if quote not in text and not spaced and "\r" not in text:
            # csv would do no more than cut such lines, but takes longer
            counts = set(map(str.count, lines, repeat(delimiter)))
            if counts != {width - 1} or (width == 1 and "\n" in map(str.lstrip, lines, repeat("\r"))):
                return None
            return text.removesuffix("\n").replace("\n", delimiter).split(delimiter)
        try:
            cells = list(
                csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True, skipinitialspace=True)
            )
        except csv.Error:
            return None
        # a record of several lines leaves fewer records than lines
        is_sound = len(cells) == len(lines) and set(map(len, cells)) == {width}
        return list(chain.from_iterable(cells)) if is_sound else None

    def _records(self, width: int) -> Iterator[tuple[int, list[str], int, bool]]:
        """Each record that begins in a waiting line, with its first and last line numbers, and whether it is
        plain ASCII. The record's lines are done with before it is handed out."""
        while self._waiting:
            text = self._waiting.popleft()
            self._line += 1
            if not text.strip("\r\n"):
                continue
            line = self._line
            cells, used, fault = _parse_record(text, self._waiting, self._stream, self._settings, width)
            if fault is not None:
                self._report(Problem(self._table, line, "", fault))
                continue
            for _ in range(used):
                self._waiting.popleft()
            self._line += used
            is_clean = not used and text.isascii() and "\0" not in text and len(text) < MAX_CELL_CHARACTERS
            yield line, cells, line + used, is_clean


def _has_undecodable(text: str) -> bool:
    """Whether some byte was not of the encoding: it stands in the text as a lone surrogate."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


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
