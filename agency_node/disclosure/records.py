"""An agency's own records of one subject, read afresh for every decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from agency_node.ports import Clock
from agency_node.sources.errors import SourceError
from agency_node.sources.ports import SubjectSource
from agency_node.sources.stamps import SourceStamp
from agency_node.subjects import CaseRecord, Subject, SubjectId
from policies.agreement import SubjectType

#: Fields that are made from a record's date rather than read.
OCCURRED, OCCURRED_MONTH, LAST_CONTACT_MONTH = "occurred", "occurred_month", "last_contact_month"
#: The field of a record that says whether the subject agreed to sharing.
CONSENT = "consent"
#: How often a source that changes under the reader is read again before nothing is answered.
_READINGS = 3


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

    def close(self) -> None:
        """Closes the source."""
        ...


class SourceReader:
    """Reads from the agency's source, in one thread of its own, for sources keep their connection there.

    Every answer is of the source as it stands at that moment. A CSV folder is indexed anew when one of its
    files changed, also while it was read; any source is opened anew when its mapping changed or a day began,
    for what lies in the future is no record.
    """

    def __init__(self, open_source: Callable[[], SubjectSource], mapping: Path, clock: Clock) -> None:
        self._open = open_source
        self._mapping = mapping
        self._clock = clock
        self._opened: _Opened | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")

    async def holding(self, subject: SubjectId, kind: SubjectType) -> Holding | None:
        """See `RecordReader`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, subject, kind)

    def close(self) -> None:
        """Ends the thread and closes the source."""
        self._thread.submit(self._close_source).result()
        self._thread.shutdown()

    def _read(self, subject_id: SubjectId, kind: SubjectType) -> Holding | None:
        try:
            for _ in range(_READINGS):
                opened = self._current()
                subject = opened.source.subject(subject_id, kind.value)
                records = opened.source.records_for(subject_id, kind.value) if subject else []
                if opened.source.stamp() == opened.data:
                    return Holding(subject, tuple(records)) if subject else None
        except BaseException:
            self._close_source()
            raise
        raise SourceError("the files of the source change faster than they can be read")

    def _current(self) -> _Opened:
        today, mapping = self._clock().date(), SourceStamp.of([self._mapping])
        if self._opened is None or not self._opened.is_current(today, mapping):
            self._close_source()
            source = self._open()
            self._opened = _Opened(source, today, mapping, source.stamp())
        return self._opened

    def _close_source(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.source.close()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A source, and what it and its mapping were before anything was read from them."""

    source: SubjectSource
    today: date
    mapping: SourceStamp
    data: SourceStamp

    def is_current(self, today: date, mapping: SourceStamp) -> bool:
        """Whether the source would answer as one that is opened now."""
        return (
            self.mapping.is_settled
            and self.data.is_settled
            and (self.today, self.mapping, self.data) == (today, mapping, self.source.stamp())
        )


def month(day: date | None) -> str | None:
    """`YYYY-MM`."""
    return None if day is None else f"{day.year:04d}-{day.month:02d}"
