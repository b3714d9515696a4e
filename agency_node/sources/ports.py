"""The port through which a node reads its agency's data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self

from agency_node.normalise.report import NormalisationReport
from agency_node.sources.problems import ProblemLog
from agency_node.sources.stamps import SourceStamp
from agency_node.subjects import CaseRecord, Subject, SubjectId, SubjectType


class SubjectSource(Protocol):
    """Reads subjects in chunks, and one subject with its case records on request.

    Markers withhold, so where a number stands in several main rows, ``subject`` and ``records_for`` go by the
    markers of all of them; ``subjects`` tells those of the first, for it may not have read the others yet.

    ``report`` and ``problems`` grow while subjects are read: counts of what normalisation changed and
    dropped, and the position of every malformed row. Neither holds a value.
    """

    @property
    def report(self) -> NormalisationReport: ...

    @property
    def problems(self) -> ProblemLog: ...

    def subjects(
        self, subject_type: SubjectType = "person", *, chunk: int = 2_000
    ) -> Iterator[list[Subject]]:
        """Every subject, joined with aliases, former names and addresses, in lists of at most ``chunk``."""
        ...

    def subject(self, subject_id: SubjectId, subject_type: SubjectType = "person") -> Subject | None:
        """One subject, or None where the source no longer holds it."""
        ...

    def records_for(self, subject_id: SubjectId, subject_type: SubjectType = "person") -> list[CaseRecord]:
        """The case records of one subject, in source order."""
        ...

    def stamp(self) -> SourceStamp:
        """What the source is made of now. While it stays the same, so does what an open source answers;
        where it changed, a new source answers from what is there now."""
        ...

    def close(self) -> None:
        """Release connections and delete temporary files."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...
