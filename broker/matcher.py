"""The broker's side of the matching engine: rows in, pairs out, with what may be kept in between.

Runs in worker threads; nothing here knows of the database or the network. The engine is imported when it is
first needed, because that takes a second or two.

For each linkage the matched state stays in memory, so that a later run looks only at what changed and a
look-up is quick; a snapshot on disk lets a restarted broker take it up without comparing again.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

import numpy as np

from broker.config import MatchingConfig
from broker.linkages import Linkage
from broker.links import pair_of
from broker.rows import Records, among, handles_of
from broker.store.model import MatchedPair, Subject
from protos.wire.linkage import HANDLE_BYTES, Strength

if TYPE_CHECKING:
    from broker.matching.candidates import RunControl
    from broker.matching.engine import Engine
    from broker.matching.incremental import MatchState
    from broker.matching.model import LinkGroup, Member, PartyRows
    from broker.matching.submission import Withdrawal

Touched = Mapping[str, frozenset[bytes]]
#: Two agencies, in order.
Agencies = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MatchJob:
    """What a run matches: the rows of each agency, or, where `touched` is not None, only those of the handles
    in it, which changed since this linkage was matched last."""

    run_id: str
    linkage: Linkage
    epoch: int
    records: Mapping[str, Records] = field(repr=False)
    touched: Touched | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a run found.

    `pairs` are all there are, or, where `around` is not None, those with an end among these subjects: all
    whose groups changed since links were last published. `sizes` are the subjects of each agency, `links`
    the pairs, all of them, between each two.
    """

    pairs: tuple[MatchedPair, ...] = field(repr=False)
    around: frozenset[Subject] | None = field(repr=False)
    sizes: Mapping[str, int]
    links: Mapping[Agencies, int]
    groups: int
    candidate_pairs: int

    @property
    def subjects(self) -> int:
        """Subjects compared."""
        return sum(self.sizes.values())


@dataclass(slots=True)
class _Held:
    """A linkage's state, and what of it is not published yet."""

    agreement: str
    epoch: int
    state: MatchState
    links: Counter[Agencies] = field(default_factory=Counter)
    groups: int = 0
    #: Subjects whose groups changed since links were published; None before they were.
    unpublished: set[Subject] | None = None
    lock: Lock = field(default_factory=Lock)

    def apply(
        self,
        gone: Iterable[Withdrawal],
        add: Iterable[PartyRows] = (),
        change: Iterable[PartyRows] = (),
        control: RunControl | None = None,
    ) -> None:
        """Takes in a submission, or raises and is as it was."""
        delta = self.state.apply(add=add, change=change, withdraw=gone, control=control)
        before = (*delta.removed, *(item.before for item in delta.changed))
        after = (*delta.added, *(item.after for item in delta.changed))
        self.groups += len(after) - len(before)
        self.links.subtract(links_between(before))
        self.links.update(links_between(after))
        if self.unpublished is not None:
            self.unpublished.update(_subject(member) for group in before + after for member in group.members)

    def report(self) -> MatchReport:
        """What there is to publish."""
        around = None if self.unpublished is None else frozenset(self.unpublished)
        groups = self._all() if around is None else self._around(around)
        return MatchReport(
            pairs=tuple(
                pair_of(_subject(one), _subject(other), Strength(band.label))
                for group in groups
                for one, other, band in group.pairs()
            ),
            around=around,
            sizes=self.state.sizes(),
            links=dict(self.links),
            groups=self.groups,
            candidate_pairs=self.state.pair_count(),
        )

    def _all(self) -> tuple[LinkGroup, ...]:
        groups = self.state.result().groups
        self.groups, self.links = len(groups), links_between(groups)
        return groups

    def _around(self, subjects: frozenset[Subject]) -> tuple[LinkGroup, ...]:
        by_agency: dict[str, list[bytes]] = {}
        for subject in sorted(subjects):
            by_agency.setdefault(subject.agency, []).append(subject.handle)
        return self.state.groups_of({agency: _matrix(handles) for agency, handles in by_agency.items()})


def links_between(groups: Iterable[LinkGroup]) -> Counter[Agencies]:
    """How many pairs of subjects some groups make, by their agencies."""
    found: Counter[Agencies] = Counter()
    for group in groups:
        agencies = [member.agency for member in group.members]
        found.update((one, other) for one, other in combinations(agencies, 2) if one != other)
    return found


def _subject(member: Member) -> Subject:
    return Subject(member.agency, member.handle)


class Matcher:
    """Matches linkages and looks up single subjects."""

    def __init__(self, config: MatchingConfig, directory: Path) -> None:
        self._config = config
        self._directory = directory
        self._held: dict[str, _Held] = {}
        self._engine: Engine | None = None
        self._lock = Lock()

    def match(self, job: MatchJob, progress: Callable[[int, int], None], cancel: Event) -> MatchReport:
        """Matches, resuming what an interrupted run of the same id left.

        Raises:
            MatchingError: too many pairs, cancelled, or an engine that gave up.
        """
        if job.touched is not None:
            held = self._updated(job, job.touched, progress, cancel)
        else:
            state = self._built(job, progress, cancel)
            held = self._held[job.linkage.id] = _Held(job.linkage.hash, job.epoch, state)
            self.keep(job.linkage)
        self.forget_run(job.run_id)
        with held.lock:
            return held.report()

    def published(self, linkage_id: str) -> None:
        """Links stand as they were last reported: the next report need only say what changes from now on."""
        held = self._held.get(linkage_id)
        if held is not None:
            held.unpublished = set()

    def keep(self, linkage: Linkage) -> None:
        """Saves the groups, so that a restarted broker takes them up where the rows are still the same."""
        held = self._held.get(linkage.id)
        if held is not None:
            held.state.snapshot().save(self._snapshot_file(linkage))

    def ready(self, linkage: Linkage, epoch: int) -> bool:
        """Whether `look_up` can answer without the rows."""
        held = self._held.get(linkage.id)
        return held is not None and (held.agreement, held.epoch) == (linkage.hash, epoch)

    def prepare(self, linkage: Linkage, epoch: int, records: Mapping[str, Records]) -> None:
        """Takes up the state of a linkage that an earlier process matched."""
        job = MatchJob("look-up", linkage, epoch, records, None)
        state = self._built(job, lambda _done, _total: None, Event())
        if not self.ready(linkage, epoch):  # else a run, with rows at least as new, was there first
            self._held[linkage.id] = _Held(linkage.hash, epoch, state)
        self.forget_run(job.run_id)

    def look_up(
        self, linkage: Linkage, agency: str, records: Records
    ) -> tuple[tuple[Subject, Strength], ...]:
        """The subjects that the rows of one subject reach, strongest first."""
        state = self._held[linkage.id].state
        hits = state.lookup(linkage.layout.party_rows(agency, records))
        return tuple((_subject(hit.member), Strength(hit.band.label)) for hit in hits)

    def withdraw(self, linkage_id: str, agency: str, handles: frozenset[bytes]) -> None:
        """Forgets subjects at once, so that neither memory nor a look-up knows them."""
        from broker.matching.submission import Withdrawal

        held = self._held.get(linkage_id)
        if held is None:
            return
        wanted = _matrix(sorted(handles))
        with held.lock:
            known = wanted[held.state.holds(agency, wanted)]
            if len(known):
                held.apply([Withdrawal(agency, known)])

    def forget(self, linkage_id: str) -> None:
        """Drops the state of a linkage, in memory and on disk."""
        self._held.pop(linkage_id, None)
        (self._directory / "groups" / f"{linkage_id}.npz").unlink(missing_ok=True)

    def forget_run(self, run_id: str) -> None:
        """Deletes what a run kept for resuming."""
        shutil.rmtree(self._run_directory(run_id), ignore_errors=True)

    def forget_runs_but(self, run_ids: Collection[str]) -> None:
        """Deletes what all other runs kept: nobody will resume them."""
        kept = self._directory / "runs"
        for path in kept.iterdir() if kept.exists() else ():
            if path.name not in run_ids:
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Releases the engine."""
        with self._lock:
            engine, self._engine = self._engine, None
        close = getattr(engine, "close", None)
        if close is not None:
            close()

    def _updated(
        self, job: MatchJob, touched: Touched, progress: Callable[[int, int], None], cancel: Event
    ) -> _Held:
        """The held state brought up to date with what changed."""
        from broker.matching.candidates import RunControl
        from broker.matching.errors import MatchInputError
        from broker.matching.submission import Withdrawal

        held = self._held.get(job.linkage.id)
        if held is None or not self.ready(job.linkage, job.epoch):
            raise MatchInputError("the groups that were to be updated are gone; run again")
        layout = job.linkage.layout
        adds: list[PartyRows] = []
        changes: list[PartyRows] = []
        withdrawals: list[Withdrawal] = []
        with held.lock:
            for agency, handles in touched.items():
                wanted = _matrix(sorted(handles))
                known = {item.tobytes() for item in wanted[held.state.holds(agency, wanted)]}
                rows = job.records[agency]
                old = among(rows, known)
                adds.append(layout.party_rows(agency, rows[~old]))
                changes.append(layout.party_rows(agency, rows[old]))
                gone = sorted(known - handles_of(rows))
                if gone:
                    withdrawals.append(Withdrawal(agency, _matrix(gone)))
            held.apply(
                withdrawals,
                [rows for rows in adds if len(rows)],
                [rows for rows in changes if len(rows)],
                RunControl(progress=progress, cancel=cancel),
            )
        return held

    def _built(self, job: MatchJob, progress: Callable[[int, int], None], cancel: Event) -> MatchState:
        from broker.matching.errors import CheckpointError, EngineError
        from broker.matching.incremental import MatchState
        from broker.matching.snapshot import Snapshot

        spec = job.linkage.match_spec(self._config.max_candidate_pairs)
        parties = [
            job.linkage.layout.party_rows(agency, records) for agency, records in sorted(job.records.items())
        ]
        try:
            snapshot = Snapshot.load(self._snapshot_file(job.linkage))
        except CheckpointError:
            snapshot = None
        try:
            return MatchState.build(
                spec,
                job.linkage.agencies,
                parties,
                engine=self._the_engine(),
                control=self._control(job, parties, progress, cancel),
                snapshot=snapshot,
            )
        except EngineError:
            self.close()  # a cluster that was restarted is reached by a new connection only
            raise

    def _control(
        self,
        job: MatchJob,
        parties: list[PartyRows],
        progress: Callable[[int, int], None],
        cancel: Event,
    ) -> RunControl:
        from broker.matching.candidates import RunControl
        from broker.matching.checkpoint import RunDirectory
        from broker.matching.errors import CheckpointError

        spec = job.linkage.match_spec(self._config.max_candidate_pairs)
        block_rows = self._config.block_rows
        path = self._run_directory(job.run_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            directory = RunDirectory(path, spec, parties, block_rows)
        except CheckpointError:
            # The rows changed between the interruption and now: what was kept is of no use.
            shutil.rmtree(path, ignore_errors=True)
            directory = RunDirectory(path, spec, parties, block_rows)
        return RunControl(progress=progress, cancel=cancel, directory=directory, block_rows=block_rows)

    def _the_engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = self._config.open_engine()
            return self._engine

    def _snapshot_file(self, linkage: Linkage) -> Path:
        folder = self._directory / "groups"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder / f"{linkage.id}.npz"

    def _run_directory(self, run_id: str) -> Path:
        return self._directory / "runs" / run_id


def _matrix(handles: list[bytes]) -> Records:
    return np.frombuffer(b"".join(handles), np.uint8).reshape(-1, HANDLE_BYTES)
