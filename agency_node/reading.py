"""What one reading of the agency's data came to, and whom it cannot show to be gone.

A subject is withdrawn when the source no longer has it. A row that is malformed does not say whose it is, so
while the main table has such rows nobody counts as gone. A subject that is there with values that the schema
refuses is not gone either.
"""

from __future__ import annotations

from functools import cached_property

from agency_node.encoding import EncodingReport
from agency_node.pipeline import EncodedChunk
from agency_node.sources import JoinedSource, ProblemLog, RowFault
from agency_node.spool import RowSpool
from agency_node.subjects import Subject, SubjectType


class Reading:
    """Counts and positions of one reading of a source, never values; it grows as chunks are encoded."""

    def __init__(self, source: JoinedSource, subject_type: SubjectType) -> None:
        rule = source.mapping.subject_rule(subject_type)
        self._source = source
        self._table = rule.main.table if rule else ""
        self._refused: set[bytes] = set()
        self.encoded = EncodingReport()

    def absorb(self, done: list[EncodedChunk], spool: RowSpool) -> list[Subject]:
        """Spools what was encoded and adds up its counts; the subjects that were asked for."""
        donors: list[Subject] = []
        for part in done:
            for rows in part.rows:
                spool.add(rows)
            self.encoded.merge(part.encoding)
            self._source.report.merge(part.normalisation)
            self._source.problems.merge(part.problems)
            self._refused.update(part.refused)
            donors += part.donors
        return donors

    @property
    def problems(self) -> ProblemLog:
        """Where the source is malformed."""
        return self._source.problems

    @cached_property
    def rows_of_nobody(self) -> int:
        """Rows of the main table that were left out and may be anybody's; asked when all was read."""
        return self.problems.in_table(self._table).lost_of_nobody()

    def may_hold(self, handle: bytes) -> bool:
        """Whether a subject of whom nothing was encoded may still be in the source."""
        return handle in self._refused or self.rows_of_nobody > 0

    def counts(self) -> dict[str, int]:
        """What the upload reports, by name."""
        counts = {
            "subjects_read": self.encoded.subjects,
            "rows_encoded": self.encoded.rows,
            "source_rows_lost": self.problems.rows_lost,
            "source_cells_marked_unexplained": self.problems.of(RowFault.UNEXPLAINED_MARK),
            "rows_dropped_invalid": self.encoded.dropped_rows,
            "identities_surplus": self.encoded.surplus_identities,
        }
        for fault, count in self.problems.lost_by_reason().items():
            counts[f"source_rows_lost_{fault.replace('-', '_')}"] = count
        counts |= {f"rows_without_{name}": n for name, n in self.encoded.absent_clks.items() if n}
        counts |= {f"rows_without_{name}": n for name, n in self.encoded.absent_tokens.items() if n}
        return counts
