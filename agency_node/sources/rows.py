"""One row of a source with its place, whatever the source is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agency_node.subjects import SubjectType


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as text cells by column name; ``line`` is where it begins. The repr shows no cell."""

    table: str
    line: int
    cells: Mapping[str, str]

    def __repr__(self) -> str:
        return f"RawRow({self.table!r}, line {self.line})"


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Main rows by subject number and, for each further table of the mapping, its rows by subject number.

    All that it takes to build the subjects, wherever that is done. The repr shows no cell.
    """

    subject_type: SubjectType
    rows: Mapping[str, RawRow]
    sides: tuple[Mapping[str, Sequence[RawRow]], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"RawChunk(<{len(self.rows)} rows>)"

    def __reduce__(self) -> tuple[Callable[..., RawChunk], tuple[object, ...]]:
        # All main rows have the same table and columns; naming these once makes pickling much faster.
        first = next(iter(self.rows.values()), RawRow("", 0, {}))
        lines = [row.line for row in self.rows.values()]
        cells = [tuple(row.cells.values()) for row in self.rows.values()]
        packed = (
            self.subject_type,
            first.table,
            tuple(first.cells),
            list(self.rows),
            lines,
            cells,
            self.sides,
        )
        return _unpacked, packed


def _unpacked(
    subject_type: SubjectType,
    table: str,
    columns: tuple[str, ...],
    subjects: list[str],
    lines: list[int],
    cells: list[tuple[str, ...]],
    sides: tuple[Mapping[str, Sequence[RawRow]], ...],
) -> RawChunk:
    rows = {
        subject: RawRow(table, line, dict(zip(columns, values, strict=True)))
        for subject, line, values in zip(subjects, lines, cells, strict=True)
    }
    return RawChunk(subject_type, rows, sides)
