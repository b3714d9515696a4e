"""Normalising whole columns: each distinct cell once, with counts that are right all the same.

Cells of a register repeat (names, dates, towns), so what a cell comes to is remembered together with what it
adds to the counts. Memory is bounded: a memory that is full is emptied, and fills again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Generic, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from agency_node.normalise.reasons import Outcome, Reason
from agency_node.normalise.report import NormalisationReport

CELLS_REMEMBERED: Final = 1 << 16
"""Distinct cells of one column that are kept, about 20 MiB."""

K = TypeVar("K", bound=Hashable)


class Count(NamedTuple):
    """What one cell adds to the counts of one field."""

    field: str
    given: bool
    kept: bool
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, field: str, outcome: Outcome, *, given: bool) -> Count:
        """The count of a cell with this outcome; ``given`` says whether the source held anything there."""
        return cls(field, given, bool(outcome.value), outcome.reasons)


class Read(NamedTuple):
    """What one cell, or several that are read together, comes to.

    ``values`` are as many for every cell of a column; ``remark`` is whatever else the reader has to say.
    """

    values: tuple[str, ...]
    counts: tuple[Count, ...]
    remark: bool = False

    def __repr__(self) -> str:
        return f"Read(<{len(self.values)} values>)"


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """A column read: ``values[v][i]`` is value ``v`` of row ``i``; ``kinds[i]`` says what it counts for.

    ``kind_counts`` are the counts of each kind, ``remarked`` the kinds of cells that carry a remark.
    """

    values: tuple[Sequence[str], ...]
    kinds: Sequence[int]
    kind_counts: Sequence[tuple[Count, ...]]
    remarked: frozenset[int]

    def __repr__(self) -> str:
        return f"ColumnReading(<{len(self.kinds)} rows>)"

    def record(self, report: NormalisationReport) -> None:
        """Add every cell to the counts."""
        for kind, times in Counter(self.kinds).items():
            for count in self.kind_counts[kind]:
                report.record_many(
                    count.field, times, given=count.given, kept=count.kept, reasons=count.reasons
                )

    def drops(self) -> Iterable[tuple[int, tuple[Count, ...]]]:
        """Row and counts of every cell of which nothing was left, for a reason."""
        dropping = {
            kind: lost
            for kind in set(self.kinds)
            if (lost := tuple(c for c in self.kind_counts[kind] if not c.kept and c.reasons))
        }
        if not dropping:
            return ()
        return ((row, dropping[kind]) for row, kind in enumerate(self.kinds) if kind in dropping)

    def remarks(self) -> Iterable[int]:
        """The rows whose cells carry a remark."""
        if self.remarked.isdisjoint(self.kinds):
            return ()
        return (row for row, kind in enumerate(self.kinds) if kind in self.remarked)


class ColumnReader(Generic[K]):
    """Reads the cells of one column, or tuples of cells, by ``read``. Not thread-safe.

    ``is_plain``, where there is one, tells for a whole column of texts which are sure to be kept as they are
    for field ``field``; these are not remembered, for numbers that identify one person never come twice.
    """

    def __init__(
        self,
        read: Callable[[K], Read],
        *,
        field: str = "",
        is_plain: Callable[[Sequence[K]], NDArray[np.bool_]] | None = None,
        remembered: int = CELLS_REMEMBERED,
    ) -> None:
        self._memory: _Memory[K] = _Memory(read)
        self._remembered = remembered
        self._is_plain = is_plain
        self._plain_kind = self._memory.kind_of((Count(field, given=True, kept=True),)) if is_plain else 0

    def read(self, cells: Sequence[K]) -> ColumnReading:
        """What became of every cell; at least one."""
        memory = self._memory
        if len(memory) > self._remembered:
            memory.clear()
        if self._is_plain is None:
            known = list(map(memory.__getitem__, cells))
        else:
            plain, kind = self._is_plain(cells), self._plain_kind
            known = [
                cast(_Known, (kind, cell)) if is_plain else memory[cell]
                for cell, is_plain in zip(cells, plain.tolist(), strict=True)
            ]
        # zip(*known) would make an iterator for each cell
        kinds, *values = (list(map(itemgetter(place), known)) for place in range(len(known[0])))
        return ColumnReading(
            cast(tuple[Sequence[str], ...], tuple(values)),
            cast(Sequence[int], kinds),
            memory.kind_counts,
            frozenset(memory.remarked),
        )


_Known = tuple[int | str, ...]
"""The number of a kind, and the values."""


class _Memory(dict[K, _Known]):
    """What is known of cells; those that are missing are read when asked for."""

    def __init__(self, read: Callable[[K], Read]) -> None:
        super().__init__()
        self._read = read
        self._kinds: dict[tuple[tuple[Count, ...], bool], int] = {}
        self.kind_counts: list[tuple[Count, ...]] = []
        self.remarked: set[int] = set()

    def kind_of(self, counts: tuple[Count, ...], remark: bool = False) -> int:
        """The number of cells that count for this."""
        kind = self._kinds.setdefault((counts, remark), len(self.kind_counts))
        if kind == len(self.kind_counts):
            self.kind_counts.append(counts)
            if remark:
                self.remarked.add(kind)
        return kind

    def __missing__(self, cell: K) -> _Known:
        found = self._read(cell)
        known: list[int | str] = [self.kind_of(found.counts, found.remark)]
        known += found.values
        self[cell] = tuple(known)
        return self[cell]
