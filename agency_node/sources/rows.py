"""One row of a source with its place, whatever the source is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as text cells by column name; ``line`` is where it begins. The repr shows no cell."""

    table: str
    line: int
    cells: Mapping[str, str]

    def __repr__(self) -> str:
        return f"RawRow({self.table!r}, line {self.line})"
