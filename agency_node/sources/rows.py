"""One row of a source with its place, whatever the source is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
