"""Rows of a source with their places, whatever the source is: one by one, and in blocks column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agency_node.subjects import SubjectType

_UNIT: str = "\x1f"


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as text cells by column name; ``line`` is where it begins. The repr shows no cell."""

    table: str
    line: int
    cells: Mapping[str, str]

    def __repr__(self) -> str:
        return f"RawRow({self.table!r}, line {self.line})"


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of one table, column by column: ``lines[i]`` and ``cells[c][i]`` belong to row ``i``.

    The repr shows no cell.
    """

    table: str
    columns: tuple[str, ...]
    lines: Sequence[int]
    cells: tuple[Sequence[str], ...]

    @classmethod
    def of(cls, rows: Sequence[RawRow]) -> RowBlock:
        """Rows that all come from one table with the same columns; at least one."""
        columns = tuple(rows[0].cells)
        cells = tuple([row.cells[column] for row in rows] for column in columns)
        return cls(rows[0].table, columns, [row.line for row in rows], cells)

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"RowBlock({self.table!r}, <{len(self)} rows>)"

    def column(self, name: str) -> Sequence[str]:
        """The cells of one column; ValueError where the block has no such column."""
        return self.cells[self.columns.index(name)]

    def row(self, place: int) -> RawRow:
        """One row by its place in the block."""
        cells = {name: column[place] for name, column in zip(self.columns, self.cells, strict=True)}
        return RawRow(self.table, self.lines[place], cells)

    def rows(self) -> Iterator[RawRow]:
        """Every row, one by one."""
        for line, cells in zip(self.lines, zip(*self.cells, strict=True), strict=True):
            yield RawRow(self.table, line, dict(zip(self.columns, cells, strict=True)))

    def take(self, places: Sequence[int]) -> RowBlock:
        """The rows at these places."""
        cells = tuple([column[place] for place in places] for column in self.cells)
        return RowBlock(self.table, self.columns, [self.lines[place] for place in places], cells)

    def __reduce__(self) -> tuple[Callable[..., RowBlock], tuple[object, ...]]:
        # One text for a column is much sooner pickled than its cells.
        packed = tuple(map(_packed, self.cells))
        return _unpacked, (self.table, self.columns, self.lines, packed)


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Main rows with their subjects' numbers and, for each further table of the mapping, its rows by number.

    All that it takes to build the subjects, wherever that is done. The repr shows no cell.
    """

    subject_type: SubjectType
    subjects: Sequence[str]
    main: RowBlock
    sides: tuple[Mapping[str, Sequence[RawRow]], ...] = ()

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        return f"RawChunk(<{len(self)} rows>)"


def _packed(column: Sequence[str]) -> str | Sequence[str]:
    joined = _UNIT.join(column)
    return joined if joined.count(_UNIT) == len(column) - 1 else column


def _unpacked(
    table: str, columns: tuple[str, ...], lines: Sequence[int], cells: tuple[str | Sequence[str], ...]
) -> RowBlock:
    split = tuple(column.split(_UNIT) if isinstance(column, str) else column for column in cells)
    return RowBlock(table, columns, lines, split)
