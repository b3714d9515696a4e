"""Rows that a source leaves out are told in the log: where they are and why, never what is in them."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agency_node.sources.problems import ProblemLog

TellLosses = Callable[[ProblemLog], None]
"""Is given what was found in one table once that was read, and in the records of one subject."""

_log = structlog.get_logger("source")


def log_losses(problems: ProblemLog) -> None:
    """A warning for each row that is listed, which are not too many, and for each reason with its total."""
    for problem in problems.listed:
        if problem.drops_row:
            _log.warning(
                "row left out",
                table=problem.table,
                line=problem.line,
                column=problem.column,
                reason=str(problem.reason),
                detail=problem.detail,
            )
    for table in dict.fromkeys(table for table, _, _ in problems.counts):
        for reason, rows in problems.in_table(table).lost_by_reason().items():
            _log.warning("rows left out", table=table, reason=str(reason), rows=rows)


def ignore_losses(problems: ProblemLog) -> None:
    """For whoever shows them in another way."""
