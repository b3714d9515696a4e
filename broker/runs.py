"""Matching runs: asked for, worked on one at a time off the event loop, and taken up again after a restart.

A run's state is in the store, its intermediate results in its run directory. A run that fails or is
cancelled leaves the links of the one before as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from broker.audit import AuditLog, Clock
from broker.bell import Bell
from broker.catalogue import Catalogue
from broker.config import WatchConfig
from broker.epochs import EpochService
from broker.holds import HoldService
from broker.linkages import Linkage
from broker.links import LinkService
from broker.matcher import Matcher, MatchJob, MatchReport
from broker.rates import expected_links, leaps, match_rates
from broker.rows import Records
from broker.store.model import Hold, HoldKind, MatchedPair, MatchRate, RunRecord, Subject
from broker.store.ports import BrokerStore, Transaction
from broker.uploads import CommittedChange
from crypto.audit import AuditAction
from crypto.canonical import JsonInput
from protos.wire.errors import CATALOGUE, ErrorCode, RefusedError
from protos.wire.linkage import RunProgress, RunState
from protos.wire.safelog import places_of

_log = structlog.get_logger("runs")


@dataclass(frozen=True, slots=True)
class _Changes:
    """What changed of an agency since its linkage was matched: subjects, and uploads that brought them."""

    handles: frozenset[bytes] = field(default=frozenset(), repr=False)
    uploads: frozenset[str] = frozenset()

    def __or__(self, other: _Changes) -> _Changes:
        return _Changes(self.handles | other.handles, self.uploads | other.uploads)


@dataclass(slots=True)
class _Working:
    """The run under way."""

    run: RunRecord
    cancel: threading.Event = field(default_factory=threading.Event)
    cancelled: bool = False
    done: int = 0
    total: int = 0
    stage: str = "reading encodings"
    #: What changed, of which this run takes care; None where it looks at everything.
    touched: dict[str, _Changes] | None = field(default_factory=dict)
    #: Withdrawn since the rows were read: no link to them may come out of this run.
    withdrawn: set[Subject] = field(default_factory=set)


class RunService:
    """Starts, follows, cancels and resumes runs."""

    def __init__(
        self,
        store: BrokerStore,
        catalogue: Catalogue,
        epochs: EpochService,
        links: LinkService,
        matcher: Matcher,
        holds: HoldService,
        watch: WatchConfig,
        audit: AuditLog,
        bell: Bell,
        clock: Clock,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._epochs = epochs
        self._links = links
        self._matcher = matcher
        self._holds = holds
        self._watch = watch
        holds.on_release(self._released)
        self._audit = audit
        self._bell = bell
        self._clock = clock
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._working: _Working | None = None
        self._worker: asyncio.Task[None] | None = None
        # By linkage and agency; None where everything must be looked at.
        self._touched: dict[str, dict[str, _Changes] | None] = {}
        self._stopping = False

    async def resume(self) -> None:
        """Takes up what an earlier process left unfinished, and begins to work."""
        async with self._store.read() as tx:
            unfinished = await tx.runs.unfinished()
        await asyncio.to_thread(self._matcher.forget_runs_but, {run.run_id for run in unfinished})
        for run in unfinished:
            self._queue.put_nowait(run.run_id)
        self._worker = asyncio.create_task(self._work(), name="matching runs")

    async def stop(self) -> None:
        """Interrupts the run under way, which the next process will take up."""
        self._stopping = True
        if self._working is not None:
            self._working.cancel.set()
        if self._worker is not None:
            self._queue.put_nowait("")
            await self._worker
        await asyncio.to_thread(self._matcher.close)

    async def start(self, agency: str, linkage_id: str, epoch: int) -> str:
        """Starts a run, or returns the one that matches, or matched, the same data.

        Raises:
            RefusedError: WRONG_EPOCH, EPOCH_NOT_OPEN, NOTHING_TO_MATCH, UPLOAD_INCOMPLETE while a
                participant's encodings of the new epoch are missing.
        """
        linkage = self._catalogue.linkage_for(linkage_id, agency)
        async with self._store.write() as tx:
            await self._require_matchable(tx, linkage, epoch)
            data = await _data(tx, linkage, epoch)
            latest = await tx.runs.latest(linkage_id)
            if latest is not None and latest.state is RunState.QUEUED:
                await tx.runs.put(replace(latest, data=data, epoch=epoch))
                return latest.run_id
            useful = {RunState.RUNNING, RunState.DONE}
            if latest is not None and latest.data == data and latest.state in useful:
                return latest.run_id
            run = RunRecord(secrets.token_hex(16), linkage_id, epoch, data, RunState.QUEUED, self._clock())
            await tx.runs.put(run)
        self._queue.put_nowait(run.run_id)
        return run.run_id

    async def _released(self, hold: Hold) -> None:
        """Matches again after links were let go; their data has not changed, but what may be told has."""
        if hold.kind is not HoldKind.LINKS:
            return
        try:
            linkage = self._catalogue.linkage(hold.linkage)
            async with self._store.write() as tx:
                epoch = (await self._epochs.ensure(tx, linkage)).epoch
            await self.start(hold.agency, hold.linkage, epoch)
        except RefusedError as refusal:
            _log.warning("no run after a release", linkage=hold.linkage, code=str(refusal.code))

    async def watch(self, agency: str, run_id: str) -> AsyncIterator[RunProgress]:
        """The run's progress until it ends."""
        last: RunProgress | None = None
        while True:
            rung = self._bell.listen(("run", run_id))
            progress = self._progress(await self._own(agency, run_id))
            if progress != last:
                yield progress
                last = progress
            if progress.state.ended:
                return
            await rung.wait()

    async def cancel(self, agency: str, run_id: str) -> RunState:
        """Asks a run to stop; returns its state, which may still be `running` for a moment."""
        run = await self._own(agency, run_id)
        working = self._working
        if working is not None and working.run.run_id == run_id:
            working.cancelled = True
            working.cancel.set()
            return RunState.RUNNING
        if run.state is RunState.QUEUED:
            async with self._store.write() as tx:
                await tx.runs.put(replace(run, state=RunState.CANCELLED, message="cancelled"))
            self._bell.ring(("run", run_id))
            return RunState.CANCELLED
        return run.state

    async def committed(self, change: CommittedChange) -> None:
        """After a commit: remembers what the next run must look at, and forgets withdrawn subjects."""
        linkage = change.linkage.id
        touched = None
        if change.touched is not None:
            touched = {change.agency: _Changes(change.touched, frozenset({change.upload_id}))}
        self._touched[linkage] = _together(self._touched.get(linkage, {}), touched)
        if change.withdrawn:
            self._links.ring(linkage, change.linkage.agencies)
            if self._working is not None and self._working.run.linkage == linkage:
                self._working.withdrawn |= {Subject(change.agency, handle) for handle in change.withdrawn}
            else:
                await asyncio.to_thread(self._matcher.withdraw, linkage, change.agency, change.withdrawn)

    def forget(self, linkage_id: str) -> None:
        """Drops what memory holds of a linkage that has ended."""
        self._touched.pop(linkage_id, None)
        self._matcher.forget(linkage_id)

    @property
    def queued(self) -> int:
        """Runs that wait."""
        return self._queue.qsize()

    @property
    def running(self) -> int:
        """1 while a run is worked on."""
        return int(self._working is not None)

    async def _work(self) -> None:
        while not self._stopping:
            run_id = await self._queue.get()
            if run_id and not self._stopping:
                try:
                    await self._run(run_id)
                except Exception as error:  # noqa: BLE001 - one run must not end the worker
                    _log.error("run lost", run=run_id, error=type(error).__name__, places=places_of(error))
                finally:
                    self._working = None
                self._bell.ring(("run", run_id))

    async def _run(self, run_id: str) -> None:
        async with self._store.write() as tx:
            run = await tx.runs.get(run_id)
            if run is None or run.state.ended:
                return
            run = replace(run, state=RunState.RUNNING, stage="reading encodings")
            await tx.runs.put(run)
        working = self._working = _Working(run)
        self._bell.ring(("run", run_id))
        matched = False
        try:
            linkage = self._catalogue.linkage(run.linkage)
            job = await self._job(linkage, working)
            report = await asyncio.to_thread(
                self._matcher.match, job, self._reporter(working), working.cancel
            )
            matched = True
            await self._publish(linkage, working, report)
            if job.touched is not None:
                await asyncio.to_thread(self._matcher.keep, linkage)
        except Exception as error:  # noqa: BLE001 - whatever happened is told to who watches the run
            intact = matched or isinstance(error, RefusedError) or _is_matching_error(error)
            self._touched[run.linkage] = _together(
                working.touched if intact else None, self._touched.get(run.linkage, {})
            )
            await self._fail(working, error)
        while working.withdrawn:
            gone = working.withdrawn.pop()
            await asyncio.to_thread(
                self._matcher.withdraw, run.linkage, gone.agency, frozenset({gone.handle})
            )

    async def _job(self, linkage: Linkage, working: _Working) -> MatchJob:
        run = working.run
        async with self._store.write() as tx:
            await self._require_matchable(tx, linkage, run.epoch)
            # Nobody can commit now, so that what changed and the rows are of one moment.
            working.touched = self._touched.pop(linkage.id, {})
            if not self._matcher.ready(linkage, run.epoch):
                working.touched = None
            records = await _records(tx, linkage, run.epoch, working.touched)
            working.run = replace(run, data=await _data(tx, linkage, run.epoch))
            await tx.runs.put(working.run)
        working.stage = "comparing"
        touched = None
        if working.touched is not None:
            touched = {agency: changes.handles for agency, changes in working.touched.items()}
        return MatchJob(run.run_id, linkage, run.epoch, records, touched)

    def _reporter(self, working: _Working) -> _Reporter:
        return _Reporter(working, self._bell, asyncio.get_running_loop())

    async def _publish(self, linkage: Linkage, working: _Working, report: MatchReport) -> None:
        run, gone = working.run, working.withdrawn
        working.stage = "telling"
        async with self._store.write() as tx:
            current = await self._epochs.ensure(tx, self._catalogue.linkage(linkage.id))
            if (current.epoch, current.agreement_hash) != (run.epoch, linkage.hash):
                raise RefusedError(
                    ErrorCode.WRONG_EPOCH,
                    "a new epoch began while this run was working; upload and run again",
                )
            pairs = tuple(pair for pair in report.pairs if not {pair.first, pair.second} & gone)
            told = await self._without_leaps(tx, linkage, report, pairs)
            news = await self._links.publish(tx, linkage, run.epoch, told, report.around)
            await tx.encodings.drop_before(linkage.id, run.epoch)
            body: dict[str, JsonInput] = {
                "linkage": linkage.id,
                "epoch": run.epoch,
                "subjects": report.subjects,
                "groups": report.groups,
                "candidate_pairs": report.candidate_pairs,
                "links_held_back": len(pairs) - len(told),
            }
            await self._audit.append(tx, AuditAction.RUN_DONE, body, policy=linkage.hash)
            await tx.runs.put(
                replace(
                    run,
                    state=RunState.DONE,
                    stage="done",
                    done=working.total,
                    total=working.total,
                    message=f"{report.subjects} subjects compared",
                )
            )
        self._links.published(linkage.id, news)
        if len(told) == len(pairs):  # else what is held back must be looked at again
            self._matcher.published(linkage.id)

    async def _without_leaps(
        self, tx: Transaction, linkage: Linkage, report: MatchReport, pairs: Sequence[MatchedPair]
    ) -> Sequence[MatchedPair]:
        """The pairs that may be told: new ones between agencies whose links leapt wait for an officer."""
        before = {(item.first, item.second): item for item in await tx.holds.rates(linkage.id)}
        usual: list[MatchRate] = []
        leapt: set[tuple[str, str]] = set()
        for now in match_rates(linkage.id, report.links, report.sizes):
            known = before.get((now.first, now.second))
            if known is None or not leaps(known, now, self._watch):
                usual.append(now)
                continue
            leapt.add((now.first, now.second))
            await self._holds.hold(
                tx,
                HoldKind.LINKS,
                linkage.id,
                now.first,
                now.second,
                f"links between {now.first} and {now.second} rose from {known.links} to {now.links}, "
                f"where about {expected_links(known, now)} were to be expected",
                _leap_figures(known, now),
            )
        await tx.holds.put_rates(usual)
        if not leapt:
            return pairs
        held = await (
            tx.links.pairs(linkage.id)
            if report.around is None
            else tx.links.pairs_of(linkage.id, report.around)
        )
        old = {(pair.first, pair.second) for pair in held}
        return [
            pair
            for pair in pairs
            if (pair.first.agency, pair.second.agency) not in leapt or (pair.first, pair.second) in old
        ]

    async def _fail(self, working: _Working, error: Exception) -> None:
        if self._stopping:
            return  # left as `running`, for the next process to take up
        state, message = RunState.FAILED, failure_message(error)
        if working.cancelled:
            state, message = RunState.CANCELLED, "cancelled"
        await asyncio.to_thread(self._matcher.forget_run, working.run.run_id)
        if message.startswith(ErrorCode.INTERNAL):
            _log.error(
                "run failed", run=working.run.run_id, error=type(error).__name__, places=places_of(error)
            )
        async with self._store.write() as tx:
            await tx.runs.put(
                replace(working.run, state=state, message=message, done=working.done, total=working.total)
            )

    def _progress(self, run: RunRecord) -> RunProgress:
        working = self._working
        if working is not None and working.run.run_id == run.run_id and not run.state.ended:
            return RunProgress(RunState.RUNNING, working.stage, working.done, working.total)
        return RunProgress(run.state, run.stage, run.done, run.total, run.message)

    async def _own(self, agency: str, run_id: str) -> RunRecord:
        async with self._store.read() as tx:
            run = await tx.runs.get(run_id)
        if run is None:
            raise RefusedError(ErrorCode.RUN_UNKNOWN, "the broker holds no run with this id")
        self._catalogue.linkage_for(run.linkage, agency)
        return run

    async def _require_matchable(self, tx: Transaction, linkage: Linkage, epoch: int) -> None:
        await self._epochs.require_open(tx, linkage, epoch)
        held = await tx.encodings.held(linkage.id, epoch)
        # Whoever has links from the epoch before would lose them in a run without it.
        awaited = sorted(
            [
                agency
                for agency in linkage.agencies
                if agency not in held and await tx.links.has_pairs(linkage.id, agency)
            ]
        )
        if awaited:
            raise RefusedError(
                ErrorCode.UPLOAD_INCOMPLETE,
                f"epoch {epoch} still lacks the encodings of {', '.join(awaited)}; the links of the epoch "
                "before stand until they are there",
            )
        if sum(1 for agency in linkage.agencies if held.get(agency)) < 2:
            raise RefusedError(
                ErrorCode.NOTHING_TO_MATCH, "fewer than two participants hold encodings in this epoch"
            )


class _Reporter:
    """Takes progress from the matching thread to those who watch, at most five times a second."""

    def __init__(self, working: _Working, bell: Bell, loop: asyncio.AbstractEventLoop) -> None:
        self._working = working
        self._bell = bell
        self._loop = loop
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        self._working.done, self._working.total = done, total
        now = self._loop.time()
        if now - self._last >= 0.2 or done == total:
            self._last = now
            self._loop.call_soon_threadsafe(self._bell.ring, ("run", self._working.run.run_id))


def failure_message(error: Exception) -> str:
    """What the watcher of a failed run is told: the code, and what to do."""
    from broker.matching.errors import PairLimitError

    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, PairLimitError):
        return f"{ErrorCode.TOO_MANY_PAIRS}: {error}"
    if _is_matching_error(error):
        return f"{ErrorCode.UNAVAILABLE}: {error}"
    return f"{ErrorCode.INTERNAL}: {CATALOGUE[ErrorCode.INTERNAL].meaning}"


def _leap_figures(before: MatchRate, now: MatchRate) -> dict[str, int]:
    return {
        "links": now.links,
        "links_before": before.links,
        "links_expected": expected_links(before, now),
        "first_subjects": now.first_subjects,
        "first_subjects_before": before.first_subjects,
        "second_subjects": now.second_subjects,
        "second_subjects_before": before.second_subjects,
    }


def _is_matching_error(error: Exception) -> bool:
    from broker.matching.errors import MatchingError

    return isinstance(error, MatchingError)


def _together(
    one: Mapping[str, _Changes] | None, other: Mapping[str, _Changes] | None
) -> dict[str, _Changes] | None:
    if one is None or other is None:
        return None
    nothing = _Changes()
    return {name: one.get(name, nothing) | other.get(name, nothing) for name in {*one, *other}}


async def _records(
    tx: Transaction, linkage: Linkage, epoch: int, touched: Mapping[str, _Changes] | None
) -> Mapping[str, Records]:
    """All rows, or those that the uploads in `touched` brought and no later one replaced."""
    if touched is None:
        return {
            agency: linkage.layout.records(await tx.encodings.live(linkage.id, epoch, agency))
            for agency in linkage.agencies
        }
    return {
        agency: linkage.layout.records(await tx.encodings.live_of(linkage.id, epoch, agency, changes.uploads))
        for agency, changes in touched.items()
    }


async def _data(tx: Transaction, linkage: Linkage, epoch: int) -> str:
    """Names the data of a run: agreement, epoch, how often rows changed and links were let go."""
    versions = await tx.encodings.versions(linkage.id, epoch)
    parts = [linkage.hash, str(epoch), *(f"{agency}={count}" for agency, count in sorted(versions.items()))]
    held = await tx.holds.listed(linkage.id)
    parts.append(str(sum(item.kind is HoldKind.LINKS and not item.open for item in held)))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
