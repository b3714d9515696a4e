"""The broker's side of the matching engine: rows in, pairs out, with what may be kept in between.

Runs in worker threads; nothing here knows of the database or the network. The engine is imported when it is
first needed, because that takes a second or two.

For each linkage the matched state stays in memory, so that a later run looks only at what changed and a
look-up is quick; a snapshot on disk lets a restarted broker take it up without comparing again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    from broker.matching.model import PartyRows

Touched = Mapping[str, frozenset[bytes]]


@dataclass(frozen=True, slots=True)
class MatchJob:
    """What a run matches. `records` holds the rows of each agency; `touched`, if not None, the handles that
    changed since this linkage was matched last."""

    run_id: str
    linkage: Linkage
    epoch: int
    records: Mapping[str, Records] = field(repr=False)
    touched: Touched | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What a run found."""

    pairs: tuple[MatchedPair, ...] = field(repr=False)
    subjects: int
    groups: int
    candidate_pairs: int


@dataclass(frozen=True, slots=True)
class _Held:
    agreement: str
    epoch: int
    state: MatchState


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
        state = self._updated(job) or self._built(job, progress, cancel)
        self._held[job.linkage.id] = _Held(job.linkage.hash, job.epoch, state)
        state.snapshot().save(self._snapshot_file(job.linkage))
        self.forget_run(job.run_id)
        result = state.result()
        pairs = tuple(
            pair_of(
                Subject(one.agency, one.handle), Subject(other.agency, other.handle), Strength(band.label)
            )
            for group in result.groups
            for one, other, band in group.pairs()
        )
        return MatchReport(pairs, result.subjects, len(result.groups), result.candidate_pairs)

    def ready(self, linkage: Linkage, epoch: int) -> bool:
        """Whether `look_up` can answer without the rows."""
        held = self._held.get(linkage.id)
        return held is not None and (held.agreement, held.epoch) == (linkage.hash, epoch)

    def prepare(self, linkage: Linkage, epoch: int, records: Mapping[str, Records]) -> None:
        """Takes up the state of a linkage that an earlier process matched."""
        job = MatchJob("look-up", linkage, epoch, records, None)
        state = self._built(job, lambda _done, _total: None, Event())
        self._held[linkage.id] = _Held(linkage.hash, epoch, state)
        self.forget_run(job.run_id)

    def look_up(
        self, linkage: Linkage, agency: str, records: Records
    ) -> tuple[tuple[Subject, Strength], ...]:
        """The subjects that the rows of one subject reach, strongest first."""
        state = self._held[linkage.id].state
        hits = state.lookup(linkage.layout.party_rows(agency, records))
        return tuple(
            (Subject(hit.member.agency, hit.member.handle), Strength(hit.band.label)) for hit in hits
        )

    def withdraw(self, linkage_id: str, agency: str, handles: frozenset[bytes]) -> None:
        """Forgets subjects at once, so that neither memory nor a look-up knows them."""
        from broker.matching.submission import Withdrawal

        held = self._held.get(linkage_id)
        if held is None:
            return
        wanted = _matrix(sorted(handles))
        known = wanted[held.state.holds(agency, wanted)]
        if len(known):
            held.state.apply(withdraw=[Withdrawal(agency, known)])

    def forget(self, linkage_id: str) -> None:
        """Drops the state of a linkage, in memory and on disk."""
        self._held.pop(linkage_id, None)
        (self._directory / "groups" / f"{linkage_id}.npz").unlink(missing_ok=True)

    def forget_run(self, run_id: str) -> None:
        """Deletes what a run kept for resuming."""
        shutil.rmtree(self._run_directory(run_id), ignore_errors=True)

    def close(self) -> None:
        """Releases the engine."""
        close = getattr(self._engine, "close", None)
        if close is not None:
            close()

    def _updated(self, job: MatchJob) -> MatchState | None:
        """The held state brought up to date with what changed, if that is all that changed."""
        if job.touched is None or not self.ready(job.linkage, job.epoch):
            return None
        state = self._held[job.linkage.id].state
        adds: list[PartyRows] = []
        changes: list[PartyRows] = []
        withdrawals: list[tuple[str, list[bytes]]] = []
        for agency, handles in job.touched.items():
            records = job.records[agency]
            rows = records[among(records, handles)]
            present = handles_of(rows)
            known = {
                handle
                for handle, held in zip(
                    sorted(handles), state.holds(agency, _matrix(sorted(handles))), strict=True
                )
                if held
            }
            layout = job.linkage.layout
            old = among(rows, known)
            adds.append(layout.party_rows(agency, rows[~old]))
            changes.append(layout.party_rows(agency, rows[old]))
            withdrawals.append((agency, sorted(known - present)))
        from broker.matching.submission import Withdrawal

        state.apply(
            add=[rows for rows in adds if len(rows)],
            change=[rows for rows in changes if len(rows)],
            withdraw=[Withdrawal(agency, _matrix(gone)) for agency, gone in withdrawals if gone],
        )
        return state

    def _built(self, job: MatchJob, progress: Callable[[int, int], None], cancel: Event) -> MatchState:
        from broker.matching.errors import CheckpointError
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
        return MatchState.build(
            spec,
            job.linkage.agencies,
            parties,
            engine=self._the_engine(),
            control=self._control(job, parties, progress, cancel),
            snapshot=snapshot,
        )

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
