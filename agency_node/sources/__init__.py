"""An agency's own data as subjects and case records."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from agency_node.mapping import CsvSettings, SourceMapping
from agency_node.sources.csv_folder import CsvFolderSource
from agency_node.sources.errors import BadRowError, SourceError, SourceStructureError
from agency_node.sources.joined import JoinedSource
from agency_node.sources.losses import TellLosses, ignore_losses, log_losses
from agency_node.sources.ports import SubjectSource
from agency_node.sources.problems import Problem, ProblemLog, RowFault
from agency_node.sources.rows import RawChunk
from agency_node.sources.sql import SqlSource


def open_source(
    mapping: SourceMapping, *, today: date, work_folder: Path | None = None, tell: TellLosses = log_losses
) -> JoinedSource:
    """The source that a mapping describes. ``today`` is the day after which nobody can have been born."""
    kind = CsvFolderSource if isinstance(mapping.source, CsvSettings) else SqlSource
    return kind(mapping, today=today, work_folder=work_folder, tell=tell)


__all__ = [
    "BadRowError",
    "CsvFolderSource",
    "JoinedSource",
    "Problem",
    "ProblemLog",
    "RawChunk",
    "RowFault",
    "SourceError",
    "SourceStructureError",
    "SqlSource",
    "SubjectSource",
    "TellLosses",
    "ignore_losses",
    "log_losses",
    "open_source",
]
