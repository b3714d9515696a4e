"""Watches for probing: one target in many variants, by upload or look-up, and data sent anew for ever.

What each agency sent is compared only with what it sent itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from broker.audit import Clock
from broker.config import WatchConfig
from broker.holds import HoldService
from broker.linkages import Linkage
from broker.nearness import Nearness, nearness, variants_seen
from broker.rows import Records, among, handles_of
from broker.store.model import Hold, HoldKind, Segment, UploadRecord
from broker.store.ports import BrokerStore, Transaction
from policies.agreement import MatchingMode, SubjectType
from protos.wire.errors import ErrorCode, RefusedError
from protos.wire.linkage import HANDLE_BYTES, UploadMode

_DAY = 24 * 3600.0
_LOOK_UPS_REMEMBERED = 1_000
#: Fewer subjects than this with near ones are never too many by their share.
_FEWEST_NEAR = 50


@dataclass(frozen=True, slots=True)
class Examination:
    """What an upload looked like before its commit, and of which state of the store that is said."""

    state: tuple[int, int]
    digest: str
    found: Nearness | None


@dataclass(frozen=True, slots=True)
class _LookUp:
    at: float
    clks: dict[str, NDArray[np.uint8]] = field(repr=False)


class ProbingWatch:
    """Examines uploads and look-ups."""

    def __init__(
        self,
        store: BrokerStore,
        holds: HoldService,
        config: WatchConfig,
        clock: Clock,
        rng_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._holds = holds
        self._config = config
        self._clock = clock
        self._rng_bytes = rng_bytes
        self._asked: dict[tuple[str, str], tuple[int, deque[_LookUp]]] = {}
        holds.on_release(self._released)

    # -- uploads

    async def require_turnover(self, tx: Transaction, linkage: Linkage, upload: UploadRecord) -> None:
        """Refuses data sent anew over and over: `daily_turnover` times what the agency may hold, in a day.

        Raises:
            RefusedError: QUOTA_EXCEEDED.
        """
        since = self._clock().timestamp() - _DAY
        earlier = [
            item
            for item in await tx.encodings.uploads_of(linkage.id, upload.agency)
            if item.upload_id != upload.upload_id and item.touched.timestamp() > since
        ]
        sent = sum(item.rows for item in earlier)
        held = (await tx.encodings.held(linkage.id, upload.epoch)).get(upload.agency, 0)
        most = self._config.daily_turnover * max(linkage.population(upload.agency), held)
        if sent and sent + upload.row_count > most:
            raise RefusedError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{sent} rows came from {upload.agency} within a day; {upload.row_count} more would exceed "
                f"{most}. Send what changed only, or tomorrow",
            )

    async def examine(self, linkage: Linkage, upload: UploadRecord) -> Examination:
        """Looks at an upload as it would be committed now, off the event loop, keeping nobody out."""
        async with self._store.read() as tx:
            state = await self._state(tx, upload)
            staged = await tx.encodings.staged(upload.upload_id)
            full = upload.mode is UploadMode.FULL
            live = () if full else await tx.encodings.live(linkage.id, upload.epoch, upload.agency)
        return await asyncio.to_thread(self._examine, linkage, upload.agency, state, staged, live)

    async def require_unsuspected(
        self, tx: Transaction, linkage: Linkage, upload: UploadRecord, seen: Examination
    ) -> Hold | None:
        """A hold on the upload, if it is suspect and nobody has released it. The caller refuses with it."""
        reason = self._reason(linkage, seen.found)
        if reason is None or seen.found is None:
            return None
        earlier = await self._holds.find(tx, HoldKind.UPLOAD, linkage.id, upload.agency, seen.digest)
        if any(not item.open for item in earlier):
            return None
        figures = seen.found.figures | {"epoch": upload.epoch, "rows": upload.rows}
        return await self._holds.hold(
            tx, HoldKind.UPLOAD, linkage.id, upload.agency, seen.digest, reason, figures
        )

    async def unchanged(self, tx: Transaction, upload: UploadRecord, seen: Examination) -> bool:
        """Whether what was examined is what would be committed."""
        return await self._state(tx, upload) == seen.state

    async def _state(self, tx: Transaction, upload: UploadRecord) -> tuple[int, int]:
        current = await tx.encodings.upload(upload.upload_id)
        versions = await tx.encodings.versions(upload.linkage, upload.epoch)
        return (current.next_sequence if current else -1, versions.get(upload.agency, 0))

    def _examine(
        self,
        linkage: Linkage,
        agency: str,
        state: tuple[int, int],
        staged: tuple[Segment, ...],
        live: tuple[Segment, ...],
    ) -> Examination:
        layout = linkage.layout
        incoming = layout.records(staged)
        digest = _digest(incoming, staged)
        if not len(incoming) or linkage.agreement.subject_type is not SubjectType.PERSON:
            # Neighbouring addresses are alike by nature; a place is asked for by its number, not by variants.
            return Examination(state, digest, None)
        held = layout.records(live)
        gone = b"".join(segment.withdrawn for segment in staged)
        replaced = handles_of(incoming) | {
            gone[at : at + HANDLE_BYTES] for at in range(0, len(gone), HANDLE_BYTES)
        }
        everything = np.concatenate([incoming, held[~among(held, replaced)]]) if len(held) else incoming
        found = nearness(
            layout.party_rows(agency, incoming),
            layout.party_rows(agency, everything),
            closeness(linkage),
            self._config.near_subjects,
            np.random.default_rng(int.from_bytes(self._rng_bytes(16), "big")),
        )
        return Examination(state, digest, found)

    def _reason(self, linkage: Linkage, found: Nearness | None) -> str | None:
        if found is None:
            return None
        if found.crowded:
            return (
                f"{found.crowded} of {found.checked} subjects looked at have {self._config.near_subjects} or "
                f"more near variants within the same agency (the most: {found.most})"
            )
        one_to_one = linkage.agreement.matching.mode is MatchingMode.ONE_TO_ONE
        most = max(_FEWEST_NEAR, found.checked * self._config.near_percent // 100)
        if one_to_one and found.near > most:
            return (
                f"{found.near} of {found.checked} subjects looked at have a near variant within the same "
                f"agency; at most {self._config.near_percent} per cent is usual where nobody is held twice"
            )
        return None

    # -- look-ups

    async def require_look_up(self, linkage: Linkage, epoch: int, agency: str, records: Records) -> None:
        """Remembers a look-up for a day, and refuses it where it is one of many variants of one target.

        Raises:
            RefusedError: PROBING_SUSPECTED, until the hold is released; RATE_LIMITED after a day's number.
        """
        async with self._store.read() as tx:
            earlier = await self._holds.find(tx, HoldKind.LOOK_UPS, linkage.id, agency, "")
        if any(item.open for item in earlier):
            raise suspected(next(item for item in earlier if item.open))
        known_epoch, asked = self._asked.get((linkage.id, agency), (epoch, deque()))
        if known_epoch != epoch:
            asked = deque()  # of another key: nothing to compare with, and nothing to keep
        self._asked[linkage.id, agency] = (epoch, asked)
        now = self._clock().timestamp()
        self._forget_old(asked, now)
        if linkage.agreement.subject_type is not SubjectType.PERSON:
            return
        rows = linkage.layout.party_rows(agency, records)
        this = _LookUp(now, {name: rows.clks[name][rows.present[name]] for name in closeness(linkage)})
        variants = sum(_is_variant(this, other, closeness(linkage)) for other in asked)
        if not any(_equal(this, other) for other in asked):
            asked.append(this)
            if len(asked) > _LOOK_UPS_REMEMBERED:
                asked.popleft()
        if variants + 1 >= self._config.look_up_variants:
            async with self._store.write() as tx:
                held = await self._holds.hold(
                    tx,
                    HoldKind.LOOK_UPS,
                    linkage.id,
                    agency,
                    "",
                    f"one target was looked up in {variants + 1} variants within a day",
                    {"variants": variants + 1, "epoch": epoch},
                )
            raise suspected(held)

    def forget_old(self) -> None:
        """Drops look-ups of more than a day ago."""
        now = self._clock().timestamp()
        for _, asked in self._asked.values():
            self._forget_old(asked, now)

    def forget(self, linkage_id: str) -> None:
        """Drops the look-ups of a linkage: its key has changed, or it has ended."""
        self._asked = {key: item for key, item in self._asked.items() if key[0] != linkage_id}

    @staticmethod
    def _forget_old(asked: deque[_LookUp], now: float) -> None:
        while asked and asked[0].at <= now - _DAY:
            asked.popleft()

    async def _released(self, hold: Hold) -> None:
        if hold.kind is HoldKind.LOOK_UPS:
            self._asked.pop((hold.linkage, hold.agency), None)


def closeness(linkage: Linkage) -> dict[str, float]:
    """From which Dice coefficient on encodings count as variants, by projection: the probable band.

    Households stay below it, and one or two slips of the pen above.
    """
    bands = linkage.agreement.matching.projections
    return {str(name): float(Decimal(bands[name].probable)) for name in bands}


def suspected(hold: Hold) -> RefusedError:
    """What whoever is held back is told."""
    return RefusedError(
        ErrorCode.PROBING_SUSPECTED,
        f"held as {hold.hold_id}: {hold.reason}. An officer of the federation must release it at the broker",
    )


def _is_variant(one: _LookUp, other: _LookUp, least: dict[str, float]) -> bool:
    return not _equal(one, other) and any(
        bool(variants_seen(one.clks[name], other.clks[name], dice).any()) for name, dice in least.items()
    )


def _equal(one: _LookUp, other: _LookUp) -> bool:
    return all(np.array_equal(clks, other.clks[name]) for name, clks in one.clks.items())


def _digest(records: Records, staged: tuple[Segment, ...]) -> str:
    """Names the content of an upload, whatever the order and the batches in which it came."""
    rows = np.sort(np.ascontiguousarray(records).view(f"V{records.shape[1]}").ravel())
    withdrawn = sorted(
        segment.withdrawn[at : at + HANDLE_BYTES]
        for segment in staged
        for at in range(0, len(segment.withdrawn), HANDLE_BYTES)
    )
    return hashlib.sha256(rows.tobytes() + b"|" + b"".join(withdrawn)).hexdigest()
