"""The state of one linkage, and what additions, changes and withdrawals do to it.

A submission is searched against everything held, and only that part of the connected components that it
touches is solved again in which anything can change (``broker.matching.regroup``). The groups that result
are those of a full run over the same rows (``broker.matching.solve`` says why); the ids of groups that keep
their members stay. Order of work: check, search, commit. If one of the first two raises, the state is as it
was.

Withdrawal erases encodings, tokens, handles and edges from memory; of a withdrawn subject only its number,
never to be used again, remains.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Self

import numpy as np

from broker.matching.candidates import RunControl, find_candidates
from broker.matching.checkpoint import spec_hash
from broker.matching.engine import Engine, ThreadsEngine
from broker.matching.errors import MatchInputError
from broker.matching.exact import ExactTokens
from broker.matching.fingerprint import LANES, Words, fingerprints
from broker.matching.groups import ID_BYTES, NO_GROUP, GroupTable, RandomBytes, difference, link_groups
from broker.matching.holdings import Holdings
from broker.matching.model import (
    HANDLE_BYTES,
    Band,
    Bytes2d,
    Candidates,
    Flags,
    LinkGroup,
    LookupHit,
    MatchDelta,
    MatchResult,
    MatchSpec,
    PartyRows,
)
from broker.matching.regroup import regrouped
from broker.matching.scoring import folded
from broker.matching.sink import CandidateSink, PartyColumns
from broker.matching.snapshot import Snapshot
from broker.matching.solve import solve
from broker.matching.subjects import SubjectTable, unique_handles
from broker.matching.submission import Submission, Withdrawal, checked_submission
from broker.matching.tasks import Watch


class MatchState:
    """Everything held of one linkage and epoch; made by :meth:`build`.

    One :meth:`apply` runs at a time; :meth:`lookup` and the other reading calls may come from any thread
    and wait for a commit only.
    """

    def __init__(
        self, spec: MatchSpec, subjects: SubjectTable, columns: Sequence[PartyColumns], new_bytes: RandomBytes
    ) -> None:
        self._spec = spec
        self._subjects = subjects
        self._holdings = Holdings(spec, columns)
        self._edges = Candidates.none()
        self._groups = GroupTable(new_bytes)
        self._groups.resize(len(subjects))
        self._prints = np.zeros((len(subjects), LANES), np.uint64)
        for held in columns:
            np.add.at(self._prints, held.subjects, fingerprints(spec, held.rows))
        self._writer = Lock()
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"MatchState({self.subject_count():,} subjects, {self.pair_count():,} pairs)"

    @classmethod
    def build(
        cls,
        spec: MatchSpec,
        agencies: Sequence[str],
        parties: Iterable[PartyRows],
        *,
        engine: Engine | None = None,
        control: RunControl | None = None,
        snapshot: Snapshot | None = None,
        previous: Iterable[LinkGroup] = (),
        new_bytes: RandomBytes = secrets.token_bytes,
    ) -> Self:
        """Hold the rows of all parties and group their subjects: a full run.

        :param agencies: every participant, also those without rows yet.
        :param parties: at most one of each agency.
        :param engine: where to compare; by default this machine's cores.
        :param control: progress, cancelling, resuming.
        :param snapshot: if it fits the rows, its edges and groups are taken and nothing is compared.
        :param previous: groups of an earlier run, whose ids are kept where members are shared.
        :raises MatchInputError: rows that do not fit the specification.
        :raises PairLimitError: the thresholds yield too many pairs.
        :raises RunCancelledError: ``control.cancel`` was set.
        """
        subjects = SubjectTable(agencies)
        columns = _numbered(spec, subjects, parties)
        state = cls(spec, subjects, columns, new_bytes)
        if snapshot is not None and snapshot.fits(spec, subjects.agencies, state.fingerprint()):
            state._adopt(snapshot)
            return state
        state._edges = find_candidates(
            spec,
            subjects,
            columns,
            state._holdings.tokens,
            engine or ThreadsEngine(),
            control or RunControl(),
        )
        state._name_after(previous)
        members, positions = solve(subjects, state._edges, one_to_one=spec.one_to_one)
        state._groups.replace(np.arange(len(subjects), dtype=np.int64), members, positions)
        return state

    @property
    def spec(self) -> MatchSpec:
        """The specification that the groups follow."""
        return self._spec

    @property
    def agencies(self) -> tuple[str, ...]:
        """The participants, sorted."""
        return self._subjects.agencies

    def subject_count(self) -> int:
        """Subjects held."""
        return int(np.count_nonzero(self._subjects.held))

    def group_count(self) -> int:
        """Groups of two or more."""
        with self._lock:
            return self._groups.count()

    def sizes(self) -> dict[str, int]:
        """Subjects held, by agency."""
        with self._lock:
            parties = self._subjects.parties[self._subjects.held]
            counts = np.bincount(parties, minlength=len(self.agencies)).tolist()
            return dict(zip(self.agencies, counts, strict=True))

    def encoding_count(self) -> int:
        """Encodings held, over all projections."""
        return self._holdings.encoding_count()

    def pair_count(self) -> int:
        """Candidate pairs held."""
        return len(self._edges)

    def fingerprint(self) -> Words:
        """``(2,)``: equal for equal sets of rows, whatever the order they came in."""
        total: Words = self._prints.sum(axis=0, dtype=np.uint64)
        return total

    def holds(self, agency: str, handles: Bytes2d) -> Flags:
        """Which of an agency's subjects are held."""
        with self._lock:
            return self._subjects.find(self._subjects.party(agency), handles) >= 0

    def result(self) -> MatchResult:
        """All groups."""
        with self._lock:
            everyone = np.arange(len(self._subjects), dtype=np.int64)
            groups = link_groups(self._subjects, self._groups, everyone, self._edges)
            return MatchResult(groups, self.subject_count(), len(self._edges))

    def groups_of(self, handles: Mapping[str, Bytes2d]) -> tuple[LinkGroup, ...]:
        """The groups that some subjects, by agency, are in; subjects not held are passed over."""
        with self._lock:
            numbers = np.concatenate(
                [
                    np.empty(0, np.int64),
                    *(self._subjects.find(self._subjects.party(name), of) for name, of in handles.items()),
                ]
            )
            slots = self._groups.slots(numbers[numbers >= 0])
            return self._link_groups(self._groups.members_of(slots))

    def lookup(self, rows: PartyRows) -> tuple[LookupHit, ...]:
        """The held subjects that the rows of one subject reach, strongest first; nothing is kept of the rows.

        Searched are the other agencies, and with duplicates also the asker's own, without the subject itself.

        :raises MatchInputError: rows that do not fit the specification.
        """
        rows.check(self._spec)
        party = self._subjects.party(rows.agency)
        limit = self._spec.max_candidate_pairs
        asked = PartyColumns(rows, np.zeros(len(rows), np.int64))
        with self._lock:
            itself = self._subjects.find(party, rows.handles)
            reached = self._holdings.reached(
                asked, self._partners(party), CandidateSink(self._spec, self._subjects).refuse, limit
            )
            hits = folded(Candidates.concatenate([pairs for pairs, _ in reached]))
            hits = hits.take(~np.isin(hits.b, itself))
            hits = hits.take(self._subjects.canonical_order(hits.b))
            hits = hits.take(np.argsort(-hits.score, kind="stable"))
            return tuple(self._hit(hits, at) for at in range(len(hits)))

    def apply(
        self,
        *,
        add: Iterable[PartyRows] = (),
        change: Iterable[PartyRows] = (),
        withdraw: Iterable[Withdrawal] = (),
        control: RunControl | None = None,
    ) -> MatchDelta:
        """Take in a submission, and say what it did to the groups.

        :param add: all rows of subjects that are not held, at most one value of each agency.
        :param change: all rows, which replace the old ones, of subjects that are held.
        :param withdraw: subjects to forget.
        :param control: progress and cancelling, for large submissions; results are not kept in between.
        :raises MatchInputError: rows that do not fit the specification, a subject named twice, or added
            while held.
        :raises UnknownSubjectError: a subject to change or withdraw is not held.
        :raises PairLimitError: the pairs would become too many.
        :raises RunCancelledError: ``control.cancel`` was set; the state is as it was.
        """
        control = control or RunControl()
        with self._writer:
            submission = checked_submission(self._spec, self._subjects, add, change, withdraw)
            with self._lock:
                added, columns = submission.numbered(self._subjects)
                self._make_room()
            try:
                gone = submission.gone(len(self._subjects))
                kept = (
                    self._edges.take(~(gone[self._edges.a] | gone[self._edges.b]))
                    if gone.any()
                    else self._edges
                )
                found = self._search(columns, gone, len(kept), control)
            except BaseException:
                with self._lock:
                    self._subjects.remove(added)
                raise
            with self._lock:
                return self._commit(submission, columns, gone, kept, found)

    def compact(self) -> None:
        """Sort what submissions brought, so that searches are as fast again as after a restart."""
        with self._writer, self._lock:
            self._holdings.compact()

    def snapshot(self) -> Snapshot:
        """Edges and groups, to be saved beside the rows."""
        with self._lock:
            order = np.flatnonzero(self._subjects.held)
            order = order[self._subjects.canonical_order(order)]
            renumbered = np.full(len(self._subjects), -1, np.int64)
            renumbered[order] = np.arange(len(order))
            slots = self._groups.slots(order)
            members = np.flatnonzero(slots != NO_GROUP)
            names, positions = np.unique(slots[members], return_inverse=True)
            edges = self._edges
            return Snapshot(
                spec=spec_hash(self._spec),
                agencies=self._subjects.agencies,
                fingerprint=self.fingerprint(),
                edges=Candidates(
                    renumbered[edges.a], renumbered[edges.b], edges.score, edges.band, edges.via
                ),
                members=members,
                positions=positions.astype(np.int64),
                ids=self._groups.ids(names),
            )

    def _search(
        self, columns: Sequence[PartyColumns], gone: Flags, held_pairs: int, control: RunControl
    ) -> Candidates:
        """Candidates of incoming rows, with what stays held and among themselves."""
        sink = CandidateSink(self._spec, self._subjects, held_pairs)
        limit = self._spec.max_candidate_pairs
        tokens = ExactTokens(self._spec, len(columns))
        partners = [self._partners(party) for party in range(len(columns))]
        total = sum(map(self._holdings.comparisons, columns, partners))
        watch = Watch(control.progress, control.cancel, total)
        for party, incoming in enumerate(columns):
            tokens.add(party, incoming)
            reached = self._holdings.reached(incoming, partners[party], sink.refuse, limit, gone, watch)
            for pairs, source in reached:
                sink.add(pairs, source)
        quietly = RunControl(cancel=control.cancel)
        among = find_candidates(self._spec, self._subjects, columns, tokens, ThreadsEngine(), quietly)
        sink.add(among, "rows of one submission")
        return sink.result()

    def _commit(
        self,
        submission: Submission,
        columns: Sequence[PartyColumns],
        gone: Flags,
        kept: Candidates,
        found: Candidates,
    ) -> MatchDelta:
        touched = np.concatenate([np.flatnonzero(gone), *(party.subjects for party in columns)])
        edges = Candidates.concatenate([kept, found])
        change = regrouped(
            self._subjects, self._groups, self._edges, edges, touched, one_to_one=self._spec.one_to_one
        )
        around = np.zeros(len(self._subjects), np.bool_)
        around[change.subjects] = True
        before = self._link_groups(around)
        self._edges = edges
        self._groups.replace(change.subjects, change.members, change.positions)
        after = self._link_groups(around)
        self._holdings.discard(gone)
        self._prints[gone] = 0
        for party, arrived in enumerate(columns):
            self._holdings.add(party, arrived)
            np.add.at(self._prints, arrived.subjects, fingerprints(self._spec, arrived.rows))
        self._subjects.remove(submission.withdrawn)
        return difference(before, after)

    def _link_groups(self, chosen: Flags) -> tuple[LinkGroup, ...]:
        """The groups of chosen subjects, which must be whole."""
        inside = self._edges.take(chosen[self._edges.a] & chosen[self._edges.b])
        return link_groups(self._subjects, self._groups, np.flatnonzero(chosen), inside)

    def _make_room(self) -> None:
        """Extend the columns that run along subject numbers."""
        known, count = len(self._prints), len(self._subjects)
        self._prints = np.concatenate([self._prints, np.zeros((count - known, LANES), np.uint64)])
        self._groups.resize(count)

    def _partners(self, party: int) -> list[int]:
        others = range(len(self._subjects.agencies))
        return [other for other in others if other != party or not self._spec.one_to_one]

    def _hit(self, hits: Candidates, at: int) -> LookupHit:
        via = int(hits.via[at])
        names = [projection.name for projection in self._spec.projections] + list(self._spec.exact_tokens)
        member = self._subjects.member(int(hits.b[at]))
        return LookupHit(member, Band(int(hits.band[at])), float(hits.score[at]), names[via])

    def _adopt(self, snapshot: Snapshot) -> None:
        """Take edges and groups over; the numbers of a snapshot are those that :meth:`build` gives."""
        self._edges = snapshot.edges
        self._groups.join(snapshot.members, snapshot.positions)
        self._groups.name(snapshot.ids)

    def _name_after(self, previous: Iterable[LinkGroup]) -> None:
        """Put subjects into the groups of an earlier run, only for their ids to be inherited."""
        ids = bytearray()
        handles: list[list[bytes]] = [[] for _ in self.agencies]
        positions: list[list[int]] = [[] for _ in self.agencies]
        for position, group in enumerate(previous):
            ids += group.id.raw
            for member in group.members:
                party = self._subjects.party(member.agency)
                handles[party].append(member.handle)
                positions[party].append(position)
        for party in range(len(self.agencies)):
            asked = np.frombuffer(b"".join(handles[party]), np.uint8).reshape(-1, HANDLE_BYTES)
            numbers = self._subjects.find(party, asked)
            held = numbers >= 0
            self._groups.join(numbers[held], np.array(positions[party], np.int64)[held])
        self._groups.name(np.frombuffer(bytes(ids), np.uint8).reshape(-1, ID_BYTES))


def _numbered(spec: MatchSpec, subjects: SubjectTable, parties: Iterable[PartyRows]) -> list[PartyColumns]:
    """Rows of every agency in canonical order, with numbers in canonical order too."""
    by_party: dict[int, PartyRows] = {}
    for rows in parties:
        rows.check(spec)
        party = subjects.party(rows.agency)
        if party in by_party:
            raise MatchInputError(f"agency {rows.agency!r} is there twice; join its rows into one value")
        by_party[party] = rows
    columns = []
    for party, agency in enumerate(subjects.agencies):
        rows = by_party.get(party) or PartyRows.empty(agency, spec)
        handles, positions = unique_handles(rows.handles)
        columns.append(PartyColumns(rows, subjects.add(party, handles)[positions]))
    return columns
