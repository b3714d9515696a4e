"""What an agency hands in, checked against what is held before anything is done about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from broker.matching.errors import MatchInputError, UnknownSubjectError
from broker.matching.model import HANDLE_BYTES, Bytes2d, Flags, Ints, MatchSpec, PartyRows
from broker.matching.sink import PartyColumns
from broker.matching.subjects import SubjectTable, unique_handles


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Subjects of an agency to forget: ``handles`` is ``(n, 16)``."""

    agency: str
    handles: Bytes2d = field(repr=False)


@dataclass(frozen=True, slots=True)
class Submission:
    """Additions and changes by party (empty where there are none), and the numbers of withdrawn subjects."""

    added: tuple[PartyRows, ...]
    changed: tuple[PartyColumns, ...]
    withdrawn: Ints = field(repr=False)

    def gone(self, subject_count: int) -> Flags:
        """Of each subject, whether its present rows, edges and tokens no longer count."""
        result = np.zeros(subject_count, np.bool_)
        result[self.withdrawn] = True
        for columns in self.changed:
            result[columns.subjects] = True
        return result

    def numbered(self, subjects: SubjectTable) -> tuple[Ints, list[PartyColumns]]:
        """Number the added subjects; return these numbers, and all incoming rows by party."""
        numbers, columns = [], []
        for party, (rows, changed) in enumerate(zip(self.added, self.changed, strict=True)):
            handles, positions = unique_handles(rows.handles)
            fresh = subjects.add(party, handles)
            numbers.append(fresh)
            owners = np.concatenate([fresh[positions], changed.subjects])
            columns.append(PartyColumns(rows.followed_by(changed.rows), owners))
        return np.concatenate(numbers), columns


def checked_submission(
    spec: MatchSpec,
    subjects: SubjectTable,
    add: Iterable[PartyRows],
    change: Iterable[PartyRows],
    withdraw: Iterable[Withdrawal],
) -> Submission:
    """See ``MatchState.apply`` for what is refused."""
    added = _by_party(spec, subjects, add)
    for party, rows in enumerate(added):
        known = int(np.count_nonzero(subjects.find(party, rows.handles) >= 0))
        if known:
            raise MatchInputError(
                f"agency {rows.agency!r}: {known} of the rows to add belong to subjects that are held; "
                "hand them in as changes"
            )
    changed = [
        PartyColumns(rows, _held(subjects, party, rows.agency, rows.handles))
        for party, rows in enumerate(_by_party(spec, subjects, change))
    ]
    parts = [_withdrawn(subjects, withdrawal) for withdrawal in withdraw]
    withdrawn = np.concatenate([np.empty(0, np.int64), *parts])
    for columns in changed:
        if len(np.intersect1d(columns.subjects, withdrawn)):
            raise MatchInputError(f"agency {columns.rows.agency!r} changes and withdraws the same subject")
    return Submission(tuple(added), tuple(changed), np.unique(withdrawn))


def _by_party(spec: MatchSpec, subjects: SubjectTable, given: Iterable[PartyRows]) -> list[PartyRows]:
    result = [PartyRows.empty(agency, spec) for agency in subjects.agencies]
    seen: set[int] = set()
    for rows in given:
        rows.check(spec)
        party = subjects.party(rows.agency)
        if party in seen:
            raise MatchInputError(f"agency {rows.agency!r} is there twice; join its rows into one value")
        seen.add(party)
        result[party] = rows
    return result


def _held(subjects: SubjectTable, party: int, agency: str, handles: Bytes2d) -> Ints:
    numbers = subjects.find(party, handles)
    missing = int(np.count_nonzero(numbers < 0))
    if missing:
        raise UnknownSubjectError(agency, missing)
    return numbers


def _withdrawn(subjects: SubjectTable, withdrawal: Withdrawal) -> Ints:
    if withdrawal.handles.ndim != 2 or withdrawal.handles.shape[1] != HANDLE_BYTES:
        raise MatchInputError(f"agency {withdrawal.agency!r}: handles to withdraw should have shape (n, 16)")
    party = subjects.party(withdrawal.agency)
    return _held(subjects, party, withdrawal.agency, withdrawal.handles)
