"""Where an agency's data is malformed: a bounded list of positions, and totals. Never a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agency_node.normalise.reasons import EXPLANATIONS, Reason

DEFAULT_LISTED: Final = 200


class RowFault(StrEnum):
    """What is wrong with a row, which is skipped, or refused where the mapping says so. With a wrong type, a
    blanked value or an unexplained mark it stays: it loses one field, or counts as marked.

    The last four are not the source's to find: they are what an encoding makes of a row that it could read.
    """

    TOO_FEW_CELLS = "too-few-cells"
    TOO_MANY_CELLS = "too-many-cells"
    BAD_ENCODING = "bad-encoding"
    UNCLOSED_QUOTE = "unclosed-quote"
    BAD_QUOTING = "bad-quoting"
    NUL_CHARACTER = "nul-character"
    CELL_TOO_LONG = "cell-too-long"
    NO_SUBJECT_ID = "no-subject-id"
    DUPLICATE_SUBJECT_ID = "duplicate-subject-id"
    UNKNOWN_SUBJECT = "unknown-subject"
    NO_RECORD_ID = "no-record-id"
    WRONG_TYPE = "wrong-type"
    UNEXPLAINED_MARK = "unexplained-mark"
    TOO_FEW_FACTS = "too-few-facts"
    TOO_MANY_IDENTITIES = "too-many-identities"
    VALUE_REFUSED = "value-refused"
    VALUE_BLANKED = "value-blanked"


FAULT_EXPLANATIONS: Final[dict[RowFault, str]] = {
    RowFault.TOO_FEW_CELLS: "the row has fewer cells than the header",
    RowFault.TOO_MANY_CELLS: "the row has more cells than the header; a delimiter inside a cell needs quotes",
    RowFault.BAD_ENCODING: "bytes that the stated encoding does not have; try utf-8 or cp1252",
    RowFault.UNCLOSED_QUOTE: "a quote is opened and never closed",
    RowFault.BAD_QUOTING: "text after a closing quote; a quote inside a quoted cell is written twice",
    RowFault.NUL_CHARACTER: "a NUL character; is the file really text in this encoding?",
    RowFault.CELL_TOO_LONG: "a cell is longer than is allowed",
    RowFault.NO_SUBJECT_ID: "the subject's number is empty",
    RowFault.DUPLICATE_SUBJECT_ID: (
        "the subject's number stands in an earlier row too; the first row is used, with the markers of all"
    ),
    RowFault.UNKNOWN_SUBJECT: "the subject's number is not in the main table",
    RowFault.NO_RECORD_ID: "the record's number is empty",
    RowFault.WRONG_TYPE: "the cell is not of the type that the mapping states; the field is left out",
    RowFault.UNEXPLAINED_MARK: (
        "the cell is none of the marker's values and none that says no; "
        "the row counts as marked with every marker of the column"
    ),
    RowFault.TOO_FEW_FACTS: "too little is known for an encoding, so nobody can be found by this row",
    RowFault.TOO_MANY_IDENTITIES: "more names and addresses of one subject than a linkage takes",
    RowFault.VALUE_REFUSED: "a linkage's schema refuses the value, and on_invalid_value leaves the row out",
    RowFault.VALUE_BLANKED: "a linkage's schema refuses the value; the row is encoded without it",
}
_ROW_STAYS: Final = frozenset({RowFault.WRONG_TYPE, RowFault.UNEXPLAINED_MARK, RowFault.VALUE_BLANKED})
_OF_ENCODING: Final = frozenset(
    {
        RowFault.TOO_FEW_FACTS,
        RowFault.TOO_MANY_IDENTITIES,
        RowFault.VALUE_REFUSED,
        RowFault.VALUE_BLANKED,
    }
)
SOURCE_LOSSES: Final = tuple(fault for fault in RowFault if fault not in _ROW_STAYS | _OF_ENCODING)
"""The faults for which a source leaves out a whole row."""
_SUBJECT_IS_KNOWN: Final = frozenset({RowFault.DUPLICATE_SUBJECT_ID})


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault and its place. ``line`` is a file's line (the header is line 1) or a table's row (from 1)."""

    table: str
    line: int
    column: str
    reason: RowFault | Reason
    detail: str = ""

    @property
    def drops_row(self) -> bool:
        """Whether the whole row is lost rather than one value."""
        return isinstance(self.reason, RowFault) and self.reason not in _ROW_STAYS

    def render(self) -> str:
        """``people.csv line 12, column dob: outside the possible range``."""
        where = f"{self.table} line {self.line}" + (f", column {self.column}" if self.column else "")
        explained = (
            FAULT_EXPLANATIONS[self.reason]
            if isinstance(self.reason, RowFault)
            else EXPLANATIONS[self.reason]
        )
        return f"{where}: {explained}" + (f" ({self.detail})" if self.detail else "")


class ProblemLog:
    """Keeps the first problems of each table, column and reason in full, and counts all of them."""

    def __init__(self, listed: int = DEFAULT_LISTED, listed_per_kind: int = 20) -> None:
        self._limit = listed
        self._per_kind = listed_per_kind
        self._listed: list[Problem] = []
        self._counts: Counter[tuple[str, str, RowFault | Reason]] = Counter()

    def add(self, problem: Problem) -> None:
        """Count a problem, and list it while there is room: a frequent kind cannot push out a rare one."""
        kind = (problem.table, problem.column, problem.reason)
        self._counts[kind] += 1
        if self._counts[kind] <= self._per_kind and len(self._listed) < self._limit:
            self._listed.append(problem)

    def take(self) -> ProblemLog:
        """What was noted so far, as a log of its own; this one begins anew."""
        taken = ProblemLog(self._limit, self._per_kind)
        taken._listed, self._listed = self._listed, []
        taken._counts, self._counts = self._counts, Counter()
        return taken

    def merge(self, other: ProblemLog) -> None:
        """Add what another log counted, and list of it what there is room for."""
        listed: Counter[tuple[str, str, RowFault | Reason]] = Counter()
        for problem in other.listed:
            kind = (problem.table, problem.column, problem.reason)
            listed[kind] += 1
            if self._counts[kind] + listed[kind] <= self._per_kind and len(self._listed) < self._limit:
                self._listed.append(problem)
        self._counts.update(other.counts)

    @property
    def listed(self) -> tuple[Problem, ...]:
        """The problems kept in full, in the order in which they were found."""
        return tuple(self._listed)

    @property
    def counts(self) -> dict[tuple[str, str, RowFault | Reason], int]:
        """Totals by table, column and reason, most frequent first."""
        return dict(self._counts.most_common())

    @property
    def total(self) -> int:
        """All problems, listed or not."""
        return self._counts.total()

    @property
    def rows_lost(self) -> int:
        """Rows that were skipped whole."""
        return self.lost_by_reason().total()

    def lost_by_reason(self) -> Counter[RowFault]:
        """Rows that were skipped whole, by reason."""
        lost: Counter[RowFault] = Counter()
        for (_, _, reason), count in self._counts.items():
            if isinstance(reason, RowFault) and reason not in _ROW_STAYS:
                lost[reason] += count
        return lost

    def lost_of_nobody(self) -> int:
        """Rows that were skipped whole and whose subject's number nobody can tell: a row that cannot be cut
        into its cells may have anything in that place."""
        lost = self.lost_by_reason()
        return sum(count for reason, count in lost.items() if reason not in _SUBJECT_IS_KNOWN)

    def in_table(self, table: str) -> ProblemLog:
        """What was noted of one table so far."""
        part = ProblemLog(self._limit, self._per_kind)
        part._listed = [problem for problem in self._listed if problem.table == table]
        part._counts = Counter({kind: count for kind, count in self._counts.items() if kind[0] == table})
        return part

    def of(self, fault: RowFault) -> int:
        """How often one fault of rows arose."""
        return sum(count for (_, _, reason), count in self._counts.items() if reason is fault)
