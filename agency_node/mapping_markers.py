"""Which cells mark a row: the ``[[...markers]]`` of a mapping, column by column.

A marker withholds, so a cell that the mapping does not explain counts as marked::

    [[records.markers]]
    marker = "refuge"
    column = "placement"
    values = ["REFUGE", "R"]            # these cells set the marker; left out: any text does
    unmarked_values = ["Own tenancy"]   # these say no, as do an empty cell and n, no, f, false, 0 and none

Where a column has ``values``, any other cell sets every marker of that column and is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from agency_node.mapping_toml import TomlTable, suggestion
from policies.clauses import BUILT_IN_MARKERS
from policies.ids import IdError, Marker

SAY_NO: Final = frozenset({"n", "no", "f", "false", "0", "none"})
"""Cells that set no marker, unless the mapping lists them among a marker's values."""


@dataclass(frozen=True, slots=True)
class MarkerRule:
    """A marker and the cells that set it, folded; of none, any text does."""

    marker: str
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MarkerColumn:
    """All markers that the cells of one column may set; ``unmarked`` are the cells that say no, folded.

    Case and surrounding spaces of a cell do not count.
    """

    column: str
    rules: tuple[MarkerRule, ...]
    unmarked: frozenset[str] = SAY_NO

    def explains(self, cell: str) -> bool:
        """Whether the mapping says what a cell means."""
        text, listed = _folded(cell), [rule.values for rule in self.rules if rule.values]
        return not text or not listed or text in self.unmarked or any(text in values for values in listed)

    def markers(self, cell: str) -> frozenset[str]:
        """The markers that a cell sets: every one where the mapping does not say what it means."""
        text, is_plain = _folded(cell), self.explains(cell)
        if not text:
            return frozenset()
        return frozenset(
            rule.marker for rule in self.rules if not is_plain or not rule.values or text in rule.values
        )


def markers_of(columns: Iterable[MarkerColumn], cells: Mapping[str, str]) -> frozenset[str]:
    """The markers of a row."""
    return frozenset(marker for column in columns for marker in column.markers(cells[column.column]))


def read_markers(table: TomlTable) -> tuple[MarkerColumn, ...]:
    """The entries ``markers`` of a table, by column in file order."""
    rules: dict[str, list[MarkerRule]] = {}
    unmarked: dict[str, set[str]] = {}
    entries = table.tables("markers")
    for entry in entries:
        column, values = entry.text("column"), _folded_texts(entry, "values")
        rules.setdefault(column, []).append(MarkerRule(entry.text("marker"), values))
        if entry.has("unmarked_values") and not values:
            raise entry.fail("unmarked_values", "needs values beside it; without, any text sets the marker")
        unmarked.setdefault(column, set()).update(_folded_texts(entry, "unmarked_values"))
        entry.finish()
    for entry in entries:
        column = entry.text("column")
        if any(rule.values & unmarked[column] for rule in rules[column]):
            raise entry.fail("column", "has a text in both values and unmarked_values; take it out of one")
    return tuple(MarkerColumn(name, tuple(found), SAY_NO | unmarked[name]) for name, found in rules.items())


def standing(marker: str) -> str:
    """What becomes of everything that bears a marker, whatever a policy's clauses say, in words."""
    if marker in BUILT_IN_MARKERS:
        return "built in: everything under it is withheld by every policy"
    hint = suggestion(marker, BUILT_IN_MARKERS)
    try:
        Marker(marker)
    except IdError:
        return f"not built in, and no policy can name it: everything under it is withheld{hint}"
    return f"not built in: everything under it is withheld by every policy that does not name it{hint}"


def _folded(cell: str) -> str:
    return cell.strip().casefold()


def _folded_texts(entry: TomlTable, key: str) -> frozenset[str]:
    texts = frozenset(map(_folded, entry.texts(key)))
    if "" in texts:
        raise entry.fail(key, "holds a text of spaces only; an empty cell never sets a marker")
    return texts
