"""An agency's own records of one subject, read afresh for every decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from agency_node.ports import Clock
from agency_node.sources.ports import SubjectSource
from agency_node.subjects import CaseRecord, Subject, SubjectId
from policies.agreement import SubjectType

#: Fields that are made from a record's date rather than read.
OCCURRED, OCCURRED_MONTH, LAST_CONTACT_MONTH = "occurred", "occurred_month", "last_contact_month"
#: The field of a record that says whether the subject agreed to sharing.
CONSENT = "consent"


@dataclass(frozen=True, slots=True)
class Holding:
    """What an agency holds about one subject. Personal data: the types inside redact their `repr`."""

    subject: Subject
    records: tuple[CaseRecord, ...]


def record_value(record: CaseRecord, name: str) -> str | None:
    """A field of a record, read or derived; None where there is nothing to release."""
    if name == OCCURRED:
        return record.occurred.isoformat() if record.occurred else None
    if name in (OCCURRED_MONTH, LAST_CONTACT_MONTH):
        return month(record.occurred)
    return record.fields.get(name) or None


class RecordReader(Protocol):
    """Reads what the agency holds about a subject."""

    async def holding(self, subject: SubjectId, kind: SubjectType) -> Holding | None:
        """Everything about one subject, or None where the source no longer has it."""
        ...

    def refresh(self) -> None:
        """Reads the source anew at the next question: a record in it was corrected."""
        ...

    def close(self) -> None:
        """Closes the source."""
        ...


class SourceReader:
    """Reads from the agency's source, in one thread of its own, for sources keep their connection there.

    A source is opened anew after `keep`, so that a changed export is seen; opening indexes a CSV folder,
    which is too dear for every request.
    """

    def __init__(
        self,
        open_source: Callable[[], SubjectSource],
        clock: Clock,
        keep: timedelta = timedelta(seconds=60),
    ) -> None:
        self._open = open_source
        self._clock = clock
        self._keep = keep
        self._source: SubjectSource | None = None
        self._opened: datetime | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")

    async def holding(self, subject: SubjectId, kind: SubjectType) -> Holding | None:
        """See `RecordReader`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, subject, kind)

    def refresh(self) -> None:
        """See `RecordReader`."""
        self._opened = None

    def close(self) -> None:
        """Ends the thread and closes the source."""
        self._thread.submit(self._close_source).result()
        self._thread.shutdown()

    def _read(self, subject_id: SubjectId, kind: SubjectType) -> Holding | None:
        source = self._current()
        subject = source.subject(subject_id, kind.value)
        if subject is None:
            return None
        return Holding(subject, tuple(source.records_for(subject_id, kind.value)))

    def _current(self) -> SubjectSource:
        now = self._clock()
        if self._opened is None or not now - self._keep < self._opened <= now:
            self._close_source()
        if self._source is None:
            self._source, self._opened = self._open(), now
        return self._source

    def _close_source(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = self._opened = None


def month(day: date | None) -> str | None:
    """`YYYY-MM`."""
    return None if day is None else f"{day.year:04d}-{day.month:02d}"
